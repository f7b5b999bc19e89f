#include "sky/wcs.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <wcslib/wcs.h>
#include <wcslib/wcshdr.h>
#include <wcslib/wcsfix.h>

#include "base/mem.h"
#include "sky/sphere.h"

#define RAD (M_PI / 180)

enum { CARD = 80, BLOCK = 256, MAX_CARDS = 1 << 16 };

/* `lock` guards the transforms: wcslib keeps scratch space inside its structure. */
struct sq_wcs {
    struct wcsprm prm;
    int ready; /* prm owns memory */
    pthread_mutex_t lock;
};

/* wcslib's header and unit parsers are flex scanners with static state. */
static pthread_mutex_t parser = PTHREAD_MUTEX_INITIALIZER;

static sq_status create(sq_wcs **out)
{
    sq_status rc = sq_alloc(out, 1, sizeof **out, "WCS");
    if (rc == SQ_OK)
        pthread_mutex_init(&(*out)->lock, NULL);
    return rc;
}

void sq_wcs_destroy(sq_wcs *wcs)
{
    if (!wcs)
        return;
    if (wcs->ready)
        wcsfree(&wcs->prm);
    pthread_mutex_destroy(&wcs->lock);
    sq_free(wcs);
}

/* FK4 differs from ICRS by arcminutes and galactic coordinates by anything; FK5 by 20 mas, which is
 * let pass. */
static sq_status check_frame(const struct wcsprm *p, const char *where)
{
    if (p->lng < 0 || p->lat < 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: CTYPE: no celestial WCS", where);
    if (strncmp(p->lngtyp, "RA", 2) != 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: CTYPE: axes %.4s/%.4s are not equatorial", where,
                       p->lngtyp, p->lattyp);
    if (strncmp(p->radesys, "FK4", 3) == 0 ||
        (isfinite(p->equinox) && fabs(p->equinox) < 1e6 && p->equinox > 0 && p->equinox < 1980))
        return sq_fail(SQ_ERR_FORMAT, "%s: RADESYS: FK4 or B1950 coordinates are not ICRS", where);
    if (p->nwtb > 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: CTYPE: table look-up coordinates", where);
    return SQ_OK;
}

/* Every number finite, and the reference pixel maps to the sky and back. */
static sq_status check_solvable(const sq_wcs *wcs, const char *where)
{
    const struct wcsprm *p = &wcs->prm;
    for (int i = 0; i < 2; i++) {
        if (!isfinite(p->crpix[i]) || !isfinite(p->crval[i]) || !isfinite(p->cdelt[i]))
            return sq_fail(SQ_ERR_FORMAT, "%s: CRPIX, CRVAL or CDELT is not finite", where);
    }
    double x = p->crpix[0] - 0.5, y = p->crpix[1] - 0.5, ra, dec, bx, by;
    if (sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec) != SQ_OK ||
        sq_wcs_sky2pix(wcs, 1, &ra, &dec, &bx, &by) != SQ_OK || !(hypot(bx - x, by - y) < 0.01))
        return sq_fail(SQ_ERR_FORMAT,
                       "%s: WCS: the reference pixel cannot be mapped to the sky "
                       "and back",
                       where);
    return SQ_OK;
}

/* Copy the celestial axes of `from` into `wcs` and set it up. Called with `parser` held. */
static sq_status take_celestial(struct wcsprm *from, const char *where, sq_wcs *wcs)
{
    int axes[2] = {WCSSUB_LONGITUDE, WCSSUB_LATITUDE}, nsub = 2, err;
    /* The order of the header's axes is kept: pixel axis 1 stays x. */
    axes[0] = WCSSUB_CELESTIAL;
    nsub = 1;
    wcs->prm.flag = -1;
    err = wcssub(1, from, &nsub, axes, &wcs->prm);
    wcs->ready = 1;
    if (err || nsub != 2 || axes[0] != 1 || axes[1] != 2)
        return sq_fail(SQ_ERR_FORMAT, "%s: CTYPE: no celestial WCS on the first two axes", where);
    err = wcsset(&wcs->prm);
    if (err)
        return sq_fail(SQ_ERR_FORMAT, "%s: WCS: %s", where, wcs_errmsg[err]);
    return check_frame(&wcs->prm, where);
}

/* The first representation with celestial axes. *err: why the first of all was refused. Each is set
 * up once only: wcslib loses memory when a singular one is tried again. */
static struct wcsprm *first_celestial(struct wcsprm *list, int count, int *err)
{
    *err = 0;
    for (int i = 0; i < count; i++) {
        unitfix(0, &list[i]);
        int code = wcsset(&list[i]);
        if (code == 0 && list[i].lng >= 0 && list[i].lat >= 0)
            return &list[i];
        if (i == 0)
            *err = code;
    }
    return NULL;
}

/* Whether a card is one that wcslib's scanner can be trusted with: it copies an unterminated string
 * past its buffer. */
static int sound_card(const char *card)
{
    int quotes = 0;
    for (int i = 0; i < CARD; i++) {
        if (card[i] < ' ' || card[i] > '~')
            return 0;
    }
    if (card[8] != '=' || strncmp(card, "CONTINUE", 8) == 0)
        return 0;
    const char *value = card + 9, *end = card + CARD;
    while (value < end && *value == ' ')
        value++;
    if (value == end || *value != '\'')
        return 1;
    for (; value < end && (*value != '/' || quotes % 2); value++)
        quotes += *value == '\'';
    return quotes % 2 == 0;
}

/* Whole cards, those without a value or with a broken one blanked. */
static void copy_cards(const char *header, size_t length, size_t cards, char *out)
{
    memset(out, ' ', cards * CARD);
    memcpy(out, header, length);
    for (size_t i = 0; i < cards; i++) {
        if (!sound_card(out + i * CARD))
            memset(out + i * CARD, ' ', CARD);
    }
}

sq_status sq_wcs_from_header(const char *header, const char *where, sq_wcs **out)
{
    sq_status rc = SQ_OK;
    sq_wcs *wcs = NULL;
    char *copy = NULL;
    struct wcsprm *list = NULL, *pick;
    int rejected = 0, count = 0, err, locked = 0;
    size_t length = strlen(header), cards = (length + CARD - 1) / CARD;
    *out = NULL;
    if (cards < 1 || cards > MAX_CARDS)
        return sq_fail(SQ_ERR_FORMAT, "%s: header of %zu cards", where, cards);
    SQ_TRY(create(&wcs));
    SQ_TRY(sq_alloc(&copy, cards * CARD + 1, 1, "header"));
    copy_cards(header, length, cards, copy);
    pthread_mutex_lock(&parser);
    locked = 1;
    err = wcspih(copy, (int)cards, WCSHDR_all, 0, &rejected, &count, &list);
    if (err) {
        rc = sq_fail(err == 2 ? SQ_ERR_NOMEM : SQ_ERR_FORMAT,
                     "%s: WCS: the header cannot be "
                     "parsed",
                     where);
        goto cleanup;
    }
    pick = first_celestial(list, count, &err);
    if (!pick) {
        rc = sq_fail(SQ_ERR_FORMAT, "%s: WCS: %s", where,
                     err ? wcs_errmsg[err] : "no celestial axes");
        goto cleanup;
    }
    SQ_TRY(take_celestial(pick, where, wcs));
    SQ_TRY(check_solvable(wcs, where));
    *out = wcs;
    wcs = NULL;
cleanup:
    if (list)
        wcsvfree(&count, &list);
    sq_wcs_destroy(wcs);
    if (locked)
        pthread_mutex_unlock(&parser);
    sq_free(copy);
    return rc;
}

sq_status sq_wcs_tan(double ra, double dec, double x0, double y0, const double cd[4], sq_wcs **out)
{
    sq_status rc;
    sq_wcs *wcs = NULL;
    int err, locked = 0;
    *out = NULL;
    double det = cd[0] * cd[3] - cd[1] * cd[2];
    if (!isfinite(det) || det == 0)
        return sq_fail(SQ_ERR_USAGE, "tangent-plane WCS: the CD matrix is singular");
    SQ_TRY(create(&wcs));
    pthread_mutex_lock(&parser);
    locked = 1;
    wcs->prm.flag = -1;
    err = wcsini(1, 2, &wcs->prm);
    wcs->ready = err == 0;
    if (!err) {
        struct wcsprm *p = &wcs->prm;
        strcpy(p->ctype[0], "RA---TAN");
        strcpy(p->ctype[1], "DEC--TAN");
        /* The standard's default is 0 at the pole itself, which would turn the grid there. */
        p->lonpole = 180;
        strcpy(p->cunit[0], "deg");
        strcpy(p->cunit[1], "deg");
        strcpy(p->radesys, "ICRS");
        p->crval[0] = ra;
        p->crval[1] = dec;
        p->crpix[0] = x0 + 1;
        p->crpix[1] = y0 + 1;
        memcpy(p->pc, cd, 4 * sizeof *cd);
        err = wcsset(p);
    }
    if (err) {
        rc = sq_fail(SQ_ERR_USAGE, "tangent-plane WCS at (%g, %g): %s", ra, dec, wcs_errmsg[err]);
        goto cleanup;
    }
    SQ_TRY(check_solvable(wcs, "tangent-plane WCS"));
    *out = wcs;
    wcs = NULL;
cleanup:
    sq_wcs_destroy(wcs);
    if (locked)
        pthread_mutex_unlock(&parser);
    return rc;
}

/* Up to BLOCK points; a point that fails gets NaN. */
static sq_status pix2sky_block(sq_wcs *wcs, int n, const double *x, const double *y, double *ra,
                               double *dec)
{
    double pix[2 * BLOCK], img[2 * BLOCK], phi[BLOCK], theta[BLOCK], world[2 * BLOCK];
    int stat[BLOCK] = {0}, lng = wcs->prm.lng, lat = wcs->prm.lat;
    for (int i = 0; i < n; i++) {
        pix[2 * i] = x[i] + 1;
        pix[2 * i + 1] = y[i] + 1;
    }
    pthread_mutex_lock(&wcs->lock);
    int err = wcsp2s(&wcs->prm, n, 2, pix, img, phi, theta, world, stat);
    pthread_mutex_unlock(&wcs->lock);
    if (err && err != 8)
        return sq_fail(err == 2 ? SQ_ERR_NOMEM : SQ_ERR_DATA, "pixel to sky: %s", wcs_errmsg[err]);
    for (int i = 0; i < n; i++) {
        int bad = (err && stat[i]) || !isfinite(world[2 * i]) || !isfinite(world[2 * i + 1]);
        ra[i] = bad ? NAN : sq_wrap_ra(world[2 * i + lng]);
        dec[i] = bad ? NAN : world[2 * i + lat];
    }
    return SQ_OK;
}

static sq_status sky2pix_block(sq_wcs *wcs, int n, const double *ra, const double *dec, double *x,
                               double *y)
{
    double pix[2 * BLOCK], img[2 * BLOCK], phi[BLOCK], theta[BLOCK], world[2 * BLOCK];
    int stat[BLOCK] = {0}, wrong[BLOCK], lng = wcs->prm.lng, lat = wcs->prm.lat;
    for (int i = 0; i < n; i++) {
        wrong[i] = !isfinite(ra[i]) || !(fabs(dec[i]) <= 90);
        world[2 * i + lng] = wrong[i] ? wcs->prm.crval[lng] : ra[i];
        world[2 * i + lat] = wrong[i] ? wcs->prm.crval[lat] : dec[i];
    }
    pthread_mutex_lock(&wcs->lock);
    int err = wcss2p(&wcs->prm, n, 2, world, phi, theta, img, pix, stat);
    pthread_mutex_unlock(&wcs->lock);
    if (err && err != 9)
        return sq_fail(err == 2 ? SQ_ERR_NOMEM : SQ_ERR_DATA, "sky to pixel: %s", wcs_errmsg[err]);
    for (int i = 0; i < n; i++) {
        int bad =
            wrong[i] || (err && stat[i]) || !isfinite(pix[2 * i]) || !isfinite(pix[2 * i + 1]);
        x[i] = bad ? NAN : pix[2 * i] - 1;
        y[i] = bad ? NAN : pix[2 * i + 1] - 1;
    }
    return SQ_OK;
}

sq_status sq_wcs_pix2sky(const sq_wcs *wcs, size_t n, const double *x, const double *y, double *ra,
                         double *dec)
{
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < n && rc == SQ_OK; i += BLOCK) {
        int count = n - i < BLOCK ? (int)(n - i) : BLOCK;
        rc = pix2sky_block((sq_wcs *)wcs, count, x + i, y + i, ra + i, dec + i);
    }
    return rc;
}

sq_status sq_wcs_sky2pix(const sq_wcs *wcs, size_t n, const double *ra, const double *dec,
                         double *x, double *y)
{
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < n && rc == SQ_OK; i += BLOCK) {
        int count = n - i < BLOCK ? (int)(n - i) : BLOCK;
        rc = sky2pix_block((sq_wcs *)wcs, count, ra + i, dec + i, x + i, y + i);
    }
    return rc;
}

sq_status sq_wcs_jacobian(const sq_wcs *wcs, double x, double y, double jac[4])
{
    /* Central differences over one pixel, in vectors, so that neither a pole nor ra 0 matters. */
    double px[5] = {x - 0.5, x + 0.5, x, x, x}, py[5] = {y, y, y - 0.5, y + 0.5, y};
    double ra[5], dec[5], v[4][3];
    sq_status rc = sq_wcs_pix2sky(wcs, 5, px, py, ra, dec);
    if (rc != SQ_OK)
        return rc;
    for (int k = 0; k < 5; k++) {
        if (!isfinite(ra[k]))
            return sq_fail(SQ_ERR_DATA, "pixel (%g, %g) is not on the sky", x, y);
    }
    for (int k = 0; k < 4; k++)
        sq_unit_vector(ra[k], dec[k], v[k]);
    double sr = sin(ra[4] * RAD), cr = cos(ra[4] * RAD);
    double sd = sin(dec[4] * RAD), cd = cos(dec[4] * RAD);
    for (int axis = 0; axis < 2; axis++) {
        const double *a = v[2 * axis], *b = v[2 * axis + 1];
        double d[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]};
        jac[axis] = (-sr * d[0] + cr * d[1]) / RAD;
        jac[2 + axis] = (-sd * cr * d[0] - sd * sr * d[1] + cd * d[2]) / RAD;
    }
    return SQ_OK;
}

double sq_wcs_scale(const sq_wcs *wcs, double x, double y)
{
    double j[4];
    if (sq_wcs_jacobian(wcs, x, y, j) != SQ_OK)
        return NAN;
    return 3600 * sqrt(fabs(j[0] * j[3] - j[1] * j[2]));
}

sq_status sq_wcs_to_header(const sq_wcs *wcs, char **out)
{
    char *cards = NULL;
    int count = 0;
    *out = NULL;
    pthread_mutex_lock(&parser);
    pthread_mutex_lock(&((sq_wcs *)wcs)->lock);
    int err = wcshdo(WCSHDO_safe | WCSHDO_P17, (struct wcsprm *)&wcs->prm, &count, &cards);
    pthread_mutex_unlock(&((sq_wcs *)wcs)->lock);
    pthread_mutex_unlock(&parser);
    if (err)
        return sq_fail(err == 2 ? SQ_ERR_NOMEM : SQ_ERR_FORMAT, "WCS to header: %s",
                       wcshdr_errmsg[err]);
    sq_status rc = sq_alloc(out, (size_t)count * CARD + 1, 1, "WCS header");
    if (rc == SQ_OK)
        memcpy(*out, cards, (size_t)count * CARD);
    free(cards); /* wcslib's own allocation */
    return rc;
}
