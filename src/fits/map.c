#include "fits/map.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fits/cards.h"
#include "fits/map_internal.h"

#define UNPACK_CAP ((size_t)1 << 30)

int sq_map_missing(float value)
{
    /* UNSEEN of HEALPix is -1.6375e30; files round it in many ways. */
    return !isfinite(value) || value < -1.6e30f;
}

/* ---- units ---- */

/* "uK_CMB", "1/uK^2", "K_CMB^-2", "mK,thermodynamic" -> factor to uK and power. 0: not one. */
static int parse_temperature(const char *unit, double *factor, int *power)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {
        {"microkelvin", 1}, {"millikelvin", 1e3}, {"kelvin", 1e6}, {"microk", 1}, {"muk", 1},
        {"uk", 1},          {"mk", 1e3},          {"k", 1e6}};
    char text[72];
    size_t n = 0;
    int inverse = 0;
    for (const char *c = unit; *c && n + 1 < sizeof text; c++) {
        if (!strchr(" ()_,*", *c))
            text[n++] = (char)tolower((unsigned char)*c);
    }
    text[n] = '\0';
    const char *at = text;
    if (strncmp(at, "1/", 2) == 0) {
        inverse = 1;
        at += 2;
    }
    size_t k = 0;
    while (k < sizeof units / sizeof units[0] &&
           strncmp(at, units[k].name, strlen(units[k].name)) != 0)
        k++;
    if (k == sizeof units / sizeof units[0])
        return 0;
    at += strlen(units[k].name);
    static const char *const kinds[] = {"thermodynamic", "cmb"};
    for (int i = 0; i < 2; i++) {
        if (strncmp(at, kinds[i], strlen(kinds[i])) == 0)
            at += strlen(kinds[i]);
    }
    at += *at == '^';
    int value = 1, used = 0;
    if (*at && (sscanf(at, "%d%n", &value, &used) != 1 || at[used]))
        return 0;
    *power = inverse ? -value : value;
    *factor = pow(units[k].factor, *power);
    return *power == 1 || *power == 2 || *power == -2;
}

static int is_plain(const char *unit)
{
    static const char *const plain[] = {"1",       "counts", "count", "hits",
                                        "samples", "n_obs",  "number"};
    for (size_t k = 0; k < sizeof plain / sizeof plain[0]; k++) {
        if (strcasecmp(unit, plain[k]) == 0)
            return 1;
    }
    return 0;
}

/* "I_STOKES", "TEMPERATURE", "Q-POLARISATION", "N_OBS", ... -> I, Q, U, hits, ivar. */
static void name_plane(const char *text, int power, char *out, size_t size)
{
    static const char *const temperature[] = {
        "I", "T", "I_STOKES", "TEMPERATURE", "SIGNAL", "INTENSITY", "MAP", "PRIMARY", ""};
    char name[24];
    snprintf(name, sizeof name, "%s", text);
    for (char *c = name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    if ((name[0] == 'q' || name[0] == 'u') && (!name[1] || strchr("_- ", name[1])) && power == 1)
        snprintf(name, sizeof name, "%c", toupper((unsigned char)name[0]));
    else if (strcmp(name, "hits") == 0 || strcmp(name, "n_obs") == 0 || strcmp(name, "nhit") == 0)
        snprintf(name, sizeof name, "hits");
    for (size_t k = 0; k < sizeof temperature / sizeof temperature[0]; k++) {
        if (strcasecmp(text, temperature[k]) == 0)
            snprintf(name, sizeof name, "%s", power == -2 ? "ivar" : power == 2 ? "variance" : "I");
    }
    snprintf(out, size, "%s", name);
}

/* The unit of a plane from `key` of a header, or from the options; its name and scale. */
sq_status sq_map_judge_unit(sq_map *map, int plane, const char *where, const char *header,
                            const char *key, const char *name, const sq_map_options *options)
{
    sq_map_plane *p = &map->info.plane[plane];
    char unit[72] = "";
    double factor = 1, other;
    int power = 0, again;
    const char *wanted = options->unit;
    int given = sq_cards_text(header, key, unit, sizeof unit) && unit[0];
    name_plane(name, 1, p->name, sizeof p->name);
    int hits = strcmp(p->name, "hits") == 0;
    if (given && !is_plain(unit) && !parse_temperature(unit, &factor, &power))
        return sq_fail(SQ_ERR_DATA,
                       "%s: %s: '%s' is no thermodynamic temperature (uK, mK, K and their powers "
                       "2 and -2); intensities and Rayleigh-Jeans units need the band's spectrum",
                       where, key, unit);
    if (!given && !wanted && !hits)
        return sq_fail(SQ_ERR_DATA, "%s: %s: no unit; say which (uK, K, ..., 1 without)", where,
                       key);
    if (!given && wanted && !is_plain(wanted) && !hits &&
        !parse_temperature(wanted, &factor, &power))
        return sq_fail(SQ_ERR_USAGE, "%s: unit '%s' is not known", where, wanted);
    if (given && wanted && power == 1 && parse_temperature(wanted, &other, &again) && again == 1 &&
        other != factor)
        return sq_fail(SQ_ERR_DATA, "%s: %s: '%s' where '%s' is expected", where, key, unit,
                       wanted);
    name_plane(name, power, p->name, sizeof p->name);
    snprintf(p->unit, sizeof p->unit, "%s",
             power == 1    ? "uK"
             : power == 2  ? "uK^2"
             : power == -2 ? "uK^-2"
                           : "1");
    p->scale = factor;
    map->source[plane].kind = power;
    snprintf(map->source[plane].key, sizeof map->source[plane].key, "%s", key);
    snprintf(map->source[plane].given, sizeof map->source[plane].given, "%s",
             given    ? unit
             : wanted ? wanted
                      : "");
    return SQ_OK;
}

/* ---- polarisation ---- */

static sq_status judge_polarisation(sq_map *map, const char *header, const sq_map_options *options)
{
    sq_map_info *info = &map->info;
    char text[72] = "";
    int u = sq_map_find_plane(map, "U");
    int given = sq_cards_text(header, "POLCCONV", text, sizeof text) && text[0];
    if (u < 0)
        return SQ_OK;
    if (given && options->polarisation && strcasecmp(text, options->polarisation) != 0)
        return sq_fail(SQ_ERR_DATA, "%s[%d]: POLCCONV: '%s' where '%s' is expected",
                       info->file.path, map->source[u].hdu, text, options->polarisation);
    info->polarisation_given = given || options->polarisation;
    if (!given)
        snprintf(text, sizeof text, "%s",
                 options->polarisation ? options->polarisation
                 : info->nside         ? "COSMO"
                                       : "IAU");
    if (strcasecmp(text, "COSMO") == 0)
        info->plane[u].scale = -info->plane[u].scale;
    else if (strcasecmp(text, "IAU") != 0)
        return sq_fail(SQ_ERR_DATA, "%s[%d]: POLCCONV: '%s' is neither IAU nor COSMO",
                       info->file.path, map->source[u].hdu, text);
    snprintf(info->polarisation, sizeof info->polarisation, "%s",
             info->plane[u].scale < 0 ? "COSMO" : "IAU");
    return SQ_OK;
}

/* ---- opening ---- */

/* The first table of HEALPix pixels, -1 without. */
static sq_status find_healpix(sq_map *map, int *hdu)
{
    sq_status rc = SQ_OK;
    char *header = NULL, text[72];
    *hdu = -1;
    for (int k = 0; k < map->input->hdus && *hdu < 0; k++) {
        SQ_TRY(sq_input_goto(map->input, k));
        SQ_TRY(sq_input_header(map->input, &header));
        if (sq_cards_text(header, "PIXTYPE", text, sizeof text) && strcasecmp(text, "HEALPIX") == 0)
            *hdu = k;
        sq_free(header);
        header = NULL;
    }
cleanup:
    sq_free(header);
    return rc;
}

static sq_status check_names(const sq_map *map)
{
    for (int a = 0; a < map->info.nplane; a++) {
        for (int b = 0; b < a; b++) {
            if (strcmp(map->info.plane[a].name, map->info.plane[b].name) == 0)
                return sq_fail(SQ_ERR_FORMAT, "%s[%d]: planes %d and %d are both named %s",
                               map->info.file.path, map->source[a].hdu, b, a,
                               map->info.plane[a].name);
        }
    }
    return SQ_OK;
}

sq_status sq_map_open(const char *path, const sq_map_options *options, sq_map **out)
{
    static const sq_map_options none;
    sq_status rc = SQ_OK;
    sq_map *map = NULL;
    char *header = NULL;
    int hdu;
    *out = NULL;
    options = options ? options : &none;
    if (strlen(path) >= SQ_PATH_MAX)
        return sq_fail(SQ_ERR_USAGE, "%.200s...: path is too long", path);
    SQ_TRY(SQ_ALLOC(map, 1, "map"));
    SQ_TRY(sq_strdup(&map->info.file.path, path));
    SQ_TRY(sq_input_identity(path, &map->info.file));
    SQ_TRY(sq_input_open_capped(path, SQ_INPUT_ALL, UNPACK_CAP, &map->input));
    SQ_TRY(find_healpix(map, &hdu));
    map->info.frame = 'C';
    SQ_TRY(hdu >= 0 ? sq_map_open_healpix(map, hdu, options) : sq_map_open_flat(map, options));
    SQ_TRY(check_names(map));
    int u = sq_map_find_plane(map, "U");
    SQ_TRY(sq_input_goto(map->input, map->source[u < 0 ? 0 : u].hdu));
    SQ_TRY(sq_input_header(map->input, &header));
    SQ_TRY(judge_polarisation(map, header, options));
    sq_free(header);
    header = NULL;
    SQ_TRY(sq_input_goto(map->input, map->source[0].hdu));
    SQ_TRY(sq_input_header(map->input, &header));
    sq_cards_text(header, "CHECKSUM", map->info.file.checksum, sizeof map->info.file.checksum);
    sq_cards_text(header, "DATASUM", map->info.file.datasum, sizeof map->info.file.datasum);
    *out = map;
    map = NULL;
cleanup:
    sq_free(header);
    sq_map_close(map);
    return rc;
}

void sq_map_close(sq_map *map)
{
    if (!map)
        return;
    sq_input_close(map->input);
    sq_wcs_destroy(map->wcs);
    sq_free(map->pixel);
    sq_free(map->row);
    sq_free(map->info.file.path);
    sq_free(map);
}

const sq_map_info *sq_map_information(const sq_map *map)
{
    return &map->info;
}

const sq_wcs *sq_map_wcs(const sq_map *map)
{
    return map->wcs;
}

int sq_map_find_plane(const sq_map *map, const char *name)
{
    for (int k = 0; k < map->info.nplane; k++) {
        if (strcmp(map->info.plane[k].name, name) == 0)
            return k;
    }
    return -1;
}
