#include "lensing/products.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

enum { FACTORS_MAX = 400, BLOCK = 2048 };
enum { EVEN_EVEN, ODD_ODD, ODD_X, ODD_Y, PARITIES };

typedef struct plan {
    int count;
    const factor *factor[FACTORS_MAX];
    int of[PARITIES][FACTORS_MAX], many[PARITIES];
} plan;

void products_free(products *p)
{
    sq_fft_destroy(p->fft);
    sq_free(p->ly);
    sq_free(p->lx);
    for (int i = 0; i < TURNS; i++)
        sq_free(p->turn[i]);
    sq_free(p->work);
    sq_free(p->map);
    sq_free(p->line);
    sq_free(p->quarter);
    memset(p, 0, sizeof *p);
}

static void fill_turns(products *p)
{
    for (int v = 0; v < p->rows; v++) {
        for (int u = 0; u < p->columns; u++) {
            double y = p->ly[v], x = p->lx[u], ll = x * x + y * y;
            p->turn[COS2][(int64_t)v * p->columns + u] = ll > 0 ? (x * x - y * y) / ll : 1;
            p->turn[SIN2][(int64_t)v * p->columns + u] = ll > 0 ? 2 * x * y / ll : 0;
        }
    }
}

sq_status products_create(const sq_flat *flat, int lmax, products *p)
{
    sq_status rc = SQ_OK;
    *p = (products){.flat = *flat, .rows = flat->ny / 2 + 1, .columns = flat->nx / 2 + 1};
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &p->fft));
    SQ_TRY(SQ_ALLOC(p->ly, p->rows, "wave numbers"));
    SQ_TRY(SQ_ALLOC(p->lx, p->columns, "wave numbers"));
    SQ_TRY(SQ_ALLOC(p->work, sq_flat_modes(flat), "modes"));
    SQ_TRY(SQ_ALLOC(p->map, sq_flat_pixels(flat), "map"));
    SQ_TRY(SQ_ALLOC(p->line, p->columns, "row"));
    for (int i = COS2; i < TURNS; i++)
        SQ_TRY(SQ_ALLOC(p->turn[i], (int64_t)p->rows * p->columns, "angles of modes"));
    for (int v = 0; v < p->rows; v++)
        p->ly[v] = 2 * M_PI * v / (flat->ny * flat->dy);
    for (int u = 0; u < p->columns; u++)
        p->lx[u] = 2 * M_PI * u / (flat->nx * flat->dx);
    while (p->used_rows < p->rows && p->ly[p->used_rows] <= lmax)
        p->used_rows++;
    while (p->used_columns < p->columns && p->lx[p->used_columns] <= lmax)
        p->used_columns++;
    fill_turns(p);
cleanup:
    if (rc != SQ_OK)
        products_free(p);
    return rc;
}

static void multiply(int count, const double *by, double *out)
{
    for (int u = 0; u < count; u++)
        out[u] *= by[u];
}

void products_row(const products *p, const factor *f, int row, double *out)
{
    int count = p->used_columns;
    int64_t start = (int64_t)row * p->columns;
    double constant =
        (f->axis[0] == ALONG_Y ? p->ly[row] : 1) * (f->axis[1] == ALONG_Y ? p->ly[row] : 1);
    for (int u = 0; u < count; u++)
        out[u] = constant;
    for (int i = 0; i < 3; i++) {
        if (f->part[i])
            multiply(count, f->part[i] + start, out);
    }
    for (int i = 0; i < 2; i++) {
        if (f->turn[i] != ROUND)
            multiply(count, p->turn[f->turn[i]] + start, out);
        if (f->axis[i] == ALONG_X)
            multiply(count, p->lx, out);
    }
}

static int parity(const factor *f)
{
    int sines = (f->turn[0] == SIN2) + (f->turn[1] == SIN2);
    int x = (sines + (f->axis[0] == ALONG_X) + (f->axis[1] == ALONG_X)) % 2;
    int y = (sines + (f->axis[0] == ALONG_Y) + (f->axis[1] == ALONG_Y)) % 2;
    return x && y ? ODD_ODD : x ? ODD_X : y ? ODD_Y : EVEN_EVEN;
}

static int equal(const factor *a, const factor *b)
{
    for (int i = 0; i < 3; i++) {
        if (a->part[i] != b->part[i] ||
            (i < 2 && (a->turn[i] != b->turn[i] || a->axis[i] != b->axis[i])))
            return 0;
    }
    return 1;
}

void products_add(product_list *list, double scale, int pair, const factor *a, const factor *b)
{
    for (int i = 0; i < list->count; i++) {
        product *p = &list->item[i];
        if (p->pair == pair &&
            ((equal(&p->a, a) && equal(&p->b, b)) || (equal(&p->a, b) && equal(&p->b, a)))) {
            p->scale += scale;
            return;
        }
    }
    list->item[list->count++] = (product){scale, pair, *a, *b};
}

/* The number of a factor among the distinct ones; -1 when there is no room. */
static int number_of(plan *all, const factor *f)
{
    for (int i = 0; i < all->count; i++) {
        if (equal(all->factor[i], f))
            return i;
    }
    if (all->count == FACTORS_MAX)
        return -1;
    int class = parity(f);
    all->of[class][all->many[class]++] = all->count;
    all->factor[all->count] = f;
    return all->count++;
}

/* A factor's function in the quadrant, over a power of two near the rms of its transform: packed at
 * their own heights, small ones would drown in the rounding of large ones. Returns that power. */
static double tabulate(const products *p, const factor *f, double *out)
{
    double sum = 0;
    for (int v = 0; v < p->used_rows; v++) {
        double *row = out + (int64_t)v * p->columns;
        products_row(p, f, v, row);
        for (int u = 0; u < p->used_columns; u++)
            sum += row[u] * row[u];
    }
    double high = sum > 0 && isfinite(sum) ? ldexp(1, ilogb(sum) / 2) : 1;
    for (int v = 0; v < p->used_rows; v++) {
        for (int u = 0; u < p->used_columns; u++)
            out[(int64_t)v * p->columns + u] /= high;
    }
    return high;
}

/* The modes of up to four tabulated factors, those of odd total parity with their i. */
static void pack(products *p, double *const table[PARITIES])
{
    int columns = p->columns, ny = p->flat.ny;
    memset(p->line, 0, (size_t)columns * sizeof *p->line);
    for (int v = 0; v < p->used_rows; v++) {
        const double *line[PARITIES];
        for (int c = 0; c < PARITIES; c++)
            line[c] = table[c] ? table[c] + (int64_t)v * columns : p->line;
        double _Complex *up = p->work + (int64_t)v * columns;
        double _Complex *down = p->work + (int64_t)((ny - v) % ny) * columns;
        for (int u = 0; u < p->used_columns; u++) {
            double even = line[EVEN_EVEN][u], odd = line[ODD_ODD][u];
            double x = line[ODD_X][u], y = line[ODD_Y][u];
            down[u] = CMPLX(even - odd, x - y);
            up[u] = CMPLX(even + odd, x + y);
        }
    }
}

/* The part of one parity of a row and of its mirror, at x = 0 .. columns - 1. */
static void unpack_row(int columns, int nx, const double *up, const double *down, double scale,
                       int class, double *out)
{
    double x_sign = class == EVEN_EVEN || class == ODD_Y ? 1 : -1;
    double y_sign = class == EVEN_EVEN || class == ODD_X ? 1 : -1;
    out[0] = scale * (1 + x_sign) * (up[0] + y_sign * down[0]);
    for (int x = 1; x < columns; x++)
        out[x] = scale * (up[x] + x_sign * up[nx - x] + y_sign * (down[x] + x_sign * down[nx - x]));
}

/* The four quadrants of the map: its parts by parity, at their heights again. */
static void unpack(const products *p, const double high[PARITIES], double *const out[PARITIES])
{
    int ny = p->flat.ny, nx = p->flat.nx;
    for (int y = 0; y < p->rows; y++) {
        const double *up = p->map + (int64_t)y * nx, *down = p->map + (int64_t)((ny - y) % ny) * nx;
        for (int c = 0; c < PARITIES; c++) {
            if (out[c])
                unpack_row(p->columns, nx, up, down, 0.25 * high[c], c,
                           out[c] + (int64_t)y * p->columns);
        }
    }
}

/* What a transform leaves unused of the modes stays 0. */
static void transform_all(products *p, const plan *all, int64_t size)
{
    int most = 0;
    for (int c = 0; c < PARITIES; c++)
        most = all->many[c] > most ? all->many[c] : most;
    memset(p->work, 0, (size_t)sq_flat_modes(&p->flat) * sizeof *p->work);
    for (int i = 0; i < most; i++) {
        double *out[PARITIES], high[PARITIES];
        for (int c = 0; c < PARITIES; c++) {
            int n = i < all->many[c] ? all->of[c][i] : -1;
            out[c] = n < 0 ? NULL : p->quarter + n * size;
            high[c] = n < 0 ? 1 : tabulate(p, all->factor[n], out[c]);
        }
        pack(p, out);
        sq_fft_backward(p->fft, p->work, p->map);
        unpack(p, high, out);
    }
}

/* An even map, and one odd in x and y, to the plane and to its modes. */
static void to_modes(products *p, const double *even, const double *odd)
{
    int ny = p->flat.ny, nx = p->flat.nx;
    for (int y = 0; y < ny; y++) {
        double sign = y < p->rows ? 1 : -1, *out = p->map + (int64_t)y * nx;
        const double *e = even + (int64_t)(y < p->rows ? y : ny - y) * p->columns;
        const double *o = odd ? odd + (e - even) : NULL;
        for (int x = 0; x < p->columns; x++) {
            double swing = o ? sign * o[x] : 0;
            if (x)
                out[nx - x] = e[x] - swing;
            out[x] = e[x] + swing;
        }
    }
    sq_fft_forward(p->fft, p->map, p->work);
}

/* out += L_x^2 xx + L_x L_y xy (turn ALONG_X), or += L_y^2 yy; L turned to (L_y, -L_x) for a curl.
 */
static void add_modes(const products *p, int along, int curl, double *out)
{
    double scale = 1 / (p->flat.dx * p->flat.dy);
    int columns = p->columns, ny = p->flat.ny;
    for (int v = 0; v < p->rows; v++) {
        int64_t up = (int64_t)v * columns, down = (int64_t)((ny - v) % ny) * columns;
        for (int u = 0; u < columns; u++) {
            double a = creal(p->work[up + u]), b = creal(p->work[down + u]);
            double x = curl ? p->ly[v] : p->lx[u], y = curl ? -p->lx[u] : p->ly[v];
            double value = along == ALONG_X ? x * (x * 0.5 * (a + b) + y * 0.5 * (a - b))
                                            : y * y * 0.5 * (a + b);
            out[up + u] += scale * value;
            if (down != up)
                out[down + u] = out[up + u];
        }
    }
}

/* sum[3][size] of the products whose factors have these numbers. */
static void add_products(const products *p, const product_list *list, int (*index)[2], int64_t size,
                         double *sum)
{
    memset(sum, 0, (size_t)(3 * size) * sizeof *sum);
    for (int64_t start = 0; start < size; start += BLOCK) {
        int64_t end = start + BLOCK < size ? start + BLOCK : size;
        for (int i = 0; i < list->count; i++) {
            double scale = list->item[i].scale;
            const double *a = p->quarter + index[i][0] * size;
            const double *b = p->quarter + index[i][1] * size;
            double *to = sum + list->item[i].pair * size;
            for (int64_t k = start; k < end; k++)
                to[k] += scale * a[k] * b[k];
        }
    }
}

sq_status products_sums(products *p, int lists, const product_list *list, int curl,
                        double *const *out)
{
    sq_status rc = SQ_OK;
    plan *all = NULL;
    int(*index)[PRODUCTS_MAX][2] = NULL;
    int64_t size = (int64_t)p->rows * p->columns;
    SQ_TRY(SQ_ALLOC(all, 1, "plan of products"));
    SQ_TRY(SQ_ALLOC(index, lists, "plan of products"));
    for (int n = 0; n < lists; n++) {
        for (int i = 0; i < list[n].count; i++) {
            index[n][i][0] = number_of(all, &list[n].item[i].a);
            index[n][i][1] = number_of(all, &list[n].item[i].b);
            if (index[n][i][0] < 0 || index[n][i][1] < 0) {
                rc = sq_fail(SQ_ERR_INTERNAL, "lensing: more than %d factors", FACTORS_MAX);
                goto cleanup;
            }
        }
    }
    SQ_TRY(SQ_GROW(p->quarter, p->capacity, (all->count + 3) * size, "transforms of filters"));
    transform_all(p, all, size);
    double *sum = p->quarter + all->count * size;
    for (int n = 0; n < lists; n++) {
        add_products(p, &list[n], index[n], size, sum);
        memset(out[n], 0, (size_t)sq_flat_modes(&p->flat) * sizeof *out[n]);
        to_modes(p, sum, sum + size);
        add_modes(p, ALONG_X, curl, out[n]);
        to_modes(p, sum + 2 * size, NULL);
        add_modes(p, ALONG_Y, curl, out[n]);
    }
cleanup:
    sq_free(all);
    sq_free(index);
    return rc;
}
