/* Rendered stars and galaxies against tests/sim/oracle.py, to 1e-3 of the peak. */
#include "sim_test.h"

#include <sys/wait.h>

#include "sim/sim_internal.h"

enum { SIDE = 61 };

typedef struct profile {
    int sersic;            /* 0: star */
    double radius, e1, e2; /* pixels, major axis */
} profile;

typedef struct psf_case {
    const char *kind;
    double p[6], e1, e2;
} psf_case;

static const psf_case psfs[] = {
    {"moffat", {3.9, 3.2}, 0, 0},
    {"moffat", {3.3, 2.5}, 0.03, -0.02},
    {"moffat", {4.6, 4.7}, -0.02, 0.01},
    {"sdss", {1.45, 3.1, 0.037, 0.0084, 3.19, 3.02}, 0, 0},
    {"sdss", {0.87, 2.27, 0.06, 0, 3, 5}, 0.02, 0.03},
    {"sdss", {1.02, 2.39, 0.057, 0.0103, 3.5, 2.5}, -0.04, 0.01},
    {"sdss", {1.3, 3.1, 0.03, 0.0105, 2.3, 2.0}, 0, 0.02},
};
static const profile profiles[] = {
    {0, 0, 0, 0},      {1, 0.4, 0.1, 0.2},   {1, 1.5, -0.3, 0.2}, {1, 4, 0.25, -0.4},
    {1, 10, 0.6, 0.1}, {4, 0.4, 0.05, -0.1}, {4, 2, 0.2, 0.1},    {4, 8, -0.1, 0.3},
};
enum { PSFS = sizeof psfs / sizeof *psfs, PROFILES = sizeof profiles / sizeof *profiles };

static const double AT[2] = {30.37, 29.81};

/* 0: there is no such oracle here. */
static int ask_oracle(const char *method, double *out)
{
    char in[512], result[512], command[2048];
    const char *python = getenv("SQ_PYTHON"), *root = getenv("SQ_SOURCE");
    scratch_path(in, sizeof in, "sq_sim_cases");
    scratch_path(result, sizeof result, "sq_sim_images");
    FILE *file = fopen(in, "w");
    assert_non_null(file);
    for (int i = 0; i < PSFS * PROFILES; i++) {
        const psf_case *c = &psfs[i / PROFILES];
        const profile *s = &profiles[i % PROFILES];
        fprintf(file, "%s", c->kind);
        for (int k = 0; k < 6; k++)
            fprintf(file, " %.17g", c->p[k]);
        fprintf(file, " %.17g %.17g ", c->e1, c->e2);
        if (s->sersic)
            fprintf(file, "%d", s->sersic);
        else
            fprintf(file, "star");
        fprintf(file, " %.17g %.17g %.17g %.17g %.17g\n", s->radius, s->e1, s->e2, AT[0], AT[1]);
    }
    fclose(file);
    snprintf(command, sizeof command, "'%s' '%s/tests/sim/oracle.py' %d %s %s %s",
             python ? python : "python3", root ? root : ".", SIDE, in, result, method);
    int code = system(command);
    unlink(in);
    if (WIFEXITED(code) && WEXITSTATUS(code) == 77)
        return 0;
    assert_int_equal(code, 0);
    file = fopen(result, "rb");
    assert_non_null(file);
    size_t n = (size_t)PSFS * PROFILES * SIDE * SIDE;
    assert_int_equal(fread(out, sizeof *out, n, file), n);
    fclose(file);
    unlink(result);
    return 1;
}

static void render(const psf_case *c, const profile *p, float *image)
{
    sim_scene scene = {
        .nband = 1, .nx = SIDE, .ny = SIDE, .scale = 0.2, .field_half = 1, .margin = 300};
    sim_band *band = &scene.band[0];
    sq_sim_source s = {.x = AT[0], .y = AT[1], .flux = {1}, .star = !p->sersic};
    if (strcmp(c->kind, "moffat") == 0)
        sim_psf_moffat(&band->psf, c->p[0], c->p[1]);
    else
        sim_psf_sdss(&band->psf, c->p[0], c->p[1], c->p[2], c->p[3], c->p[4], c->p[5]);
    band->psf.e[0][0] = c->e1;
    band->psf.e[1][0] = c->e2;
    band->cut = 1e-8;
    s.bulge_fraction = p->sersic == 4;
    s.disk_radius = s.bulge_radius = p->radius * scene.scale;
    s.disk_e1 = s.bulge_e1 = p->e1;
    s.disk_e2 = s.bulge_e2 = p->e2;
    memset(image, 0, SIDE * SIDE * sizeof *image);
    sim_add_source(&scene, 0, &s, image, 0, 0, SIDE, SIDE);
}

static void compare(const char *method)
{
    double *want = calloc((size_t)PSFS * PROFILES * SIDE * SIDE, sizeof *want), worst = 0;
    float got[SIDE * SIDE];
    int bad = 0, cases = 0;
    assert_non_null(want);
    if (!ask_oracle(method, want)) {
        free(want);
        skip();
    }
    for (int i = 0; i < PSFS * PROFILES; i++) {
        const double *w = want + (size_t)i * SIDE * SIDE;
        double peak = 0, error = 0;
        if (isnan(w[0]))
            continue;
        cases++;
        render(&psfs[i / PROFILES], &profiles[i % PROFILES], got);
        for (int k = 0; k < SIDE * SIDE; k++) {
            peak = fmax(peak, w[k]);
            error = fmax(error, fabs(got[k] - w[k]));
        }
        worst = fmax(worst, error / peak);
        if (error > 1e-3 * peak) {
            bad++;
            print_message("PSF %d, profile %d: error %.2e of the peak\n", i / PROFILES,
                          i % PROFILES, error / peak);
        }
    }
    print_message("largest error %.2e of the peak over %d cases\n", worst, cases);
    free(want);
    assert_int_equal(bad, 0);
    assert_true(cases >= 4 * PROFILES);
}

static void renders_like_convolution(void **state)
{
    (void)state;
    compare("");
}

static void renders_like_galsim(void **state)
{
    (void)state;
    compare("galsim");
}

/* The stamp is the star's image at unit sum, wherever the PSF varies. */
static void stamp_is_star(void **state)
{
    (void)state;
    enum { N = SQ_PSF_SIDE };
    float stamp[N * N], star[N * N];
    sim_scene scene = {.nband = 1, .nx = N, .ny = N, .scale = 0.2, .field_half = 40, .margin = 300};
    sim_band *band = &scene.band[0];
    sim_psf_moffat(&band->psf, 3.7, 3);
    for (int k = 0; k < 5; k++)
        band->psf.size[k] = 0.03 * (k - 2);
    for (int k = 0; k < 3; k++) {
        band->psf.e[0][k] = 0.02 * (k + 1);
        band->psf.e[1][k] = -0.03 * k;
    }
    band->cut = 1e-9;
    sq_sim_source s = {.x = N / 2, .y = N / 2, .flux = {1000}, .star = 1};
    memset(star, 0, sizeof star);
    sim_add_source(&scene, 0, &s, star, 0, 0, N, N);
    double u, v, sum = 0, total = 0;
    sim_field(&scene, s.x, s.y, &u, &v);
    sim_psf_stamp(&band->psf, u, v, stamp);
    for (int k = 0; k < N * N; k++) {
        sum += stamp[k];
        total += star[k];
    }
    assert_true(fabs(sum - 1) < 1e-5);
    assert_true(fabs(total / 1000 - 1) < 3e-3); /* the PSF's size changes what 51 pixels hold */
    for (int k = 0; k < N * N; k++)
        assert_true(fabs(star[k] / total - stamp[k]) < 2e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_like_convolution),
        cmocka_unit_test(renders_like_galsim),
        cmocka_unit_test(stamp_is_star),
    };
    return cmocka_run_group_tests_name("render", tests, NULL, NULL);
}
