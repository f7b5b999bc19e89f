#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "assess/json.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "lensing/iterative.h"
#include "sim/spectra.h"
#include "sim/spectra_file.h"

enum { MV = SQ_QE_COUNT, ITERATED, SERIES, BINS_MAX = 1000, SIDE_MAX = 8192 };
static const double ARCMIN = M_PI / 180 / 60;
static const char *const series_names[] = {"TT", "TE", "EE", "TB", "EB", "MV", "EB iter"};
static const char *const series_keys[] = {"tt", "te", "ee", "tb", "eb", "mv", "eb_iterated"};
static const int order[SERIES] = {SQ_QE_TT, SQ_QE_TE, SQ_QE_EE, SQ_QE_EB, SQ_QE_TB, MV, ITERATED};

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt n0 - noise of lensing reconstruction: N0 of every quadratic estimator\n\n"
        "SYNOPSIS\n"
        "    skyquilt n0 --beam ARCMIN|FILE --noise UK_ARCMIN [--noise-p UK_ARCMIN]\n"
        "                [--cls FILE] [--cls-potential FILE] [--cls-gradient FILE] [OPTIONS]\n\n"
        "DESCRIPTION\n"
        "    Prints, by multipole L, the power of the convergence C^kk and the Gaussian "
        "reconstruction\n"
        "    noise N0 of the quadratic estimators TT, TE, EE, EB, TB (Hu & Okamoto 2002, flat "
        "sky), of\n"
        "    their minimum-variance combination MV, and of iterated EB delensing (Smith et al. "
        "2012),\n"
        "    which stands for what a maximum-likelihood reconstruction reaches.\n\n"
        "    Without spectra files the fiducial set of the program is used: CAMB, Planck 2018, "
        "flat,\n"
        "    sum m_nu = 0.06 eV, with gradient-lensed spectra.\n\n"
        "SPECTRA FILES\n"
        "    CAMB's text formats: rows that ascend from L = 0, 1 or 2; columns by the header line\n"
        "    '# L TT EE BB TE ...' or, without one, by their number: 5 is lensedCls (L TT EE BB "
        "TE), 8\n"
        "    lenspotentialCls (L TT EE BB TE PP TP EP), 6 scalCls (L TT EE TE PP TP), 4 L TT EE "
        "TE,\n"
        "    2 L TT. Missing L are interpolated. TT, EE, BB and TE are D_L = L (L + 1) C_L / (2 "
        "pi) in\n"
        "    uK^2, PP is [L (L + 1)]^2 C_L^phi / (2 pi). The height of TT at L = 200..300 must "
        "agree\n"
        "    with the unit: C_L given for D_L, K^2 for uK^2 or a spectrum without unit is told, "
        "never\n"
        "    guessed.\n\n"
        "    --cls FILE, --cls-lensed FILE\n"
        "                          lensed spectra: weights and power of the maps. TT alone will "
        "do for\n"
        "                          TT alone. PP is taken from here when it has a column\n"
        "    --cls-potential FILE  PP, from lenspotentialCls or scalCls. Without PP there is "
        "neither\n"
        "                          C^kk nor the iterated noise\n"
        "    --cls-gradient FILE   gradient-lensed spectra for the responses; without them the "
        "lensed\n"
        "                          ones stand in (TT 1.5%%, EB 0.5%% off)\n"
        "    --cls-unit UNIT[,UNIT,UNIT]\n"
        "                          of all files, or of the lensed, potential and gradient ones:\n"
        "                          dl-uK2 (default), cl-uK2, dl-K2, cl-K2, dl-one, cl-one; dl- is "
        "D_L,\n"
        "                          cl- C_L (then PP is C_L^phi); -one is relative to T = 2.7255 "
        "K\n\n"
        "OPTIONS\n"
        "    --beam ARCMIN|FILE    FWHM of a Gaussian beam, or a text file of b_l ('l b_l' or b_l "
        "from\n"
        "                          l = 0 on)\n"
        "    --noise UK_ARCMIN     white noise of T in uK arcmin\n"
        "    --noise-p UK_ARCMIN   of Q and of U each; default sqrt 2 times that of T\n"
        "    --lmin L, --lmax L    multipoles of the maps that take part, default 100 and 3000\n"
        "    --box DEG             side of the periodic box of the calculation, default 20\n"
        "    --side N              its pixels; default the next product of 2, 3 and 5 that is "
        "free of\n"
        "                          aliases (Nyquist frequency >= 1.5 lmax)\n"
        "    --bins FIRST,WIDTH,COUNT\n"
        "                          centre of the first ring, width, number of rings in L; "
        "default\n"
        "                          100,100,20\n"
        "    --delens-lmin L       lowest L of phi that iterated delensing uses, default 2\n"
        "    --phi                 print C and N0 of the potential instead of the convergence\n"
        "    --json FILE           write settings and table as JSON too (not finite: null)\n\n"
        "CONVENTIONS\n"
        "    Lensed X(n) = X(n + grad phi). kappa = L^2 phi / 2, so that N^kk = L^4 N^phi / 4; "
        "C^kk is\n"
        "    [L (L + 1)]^2 C^phi / 4, and --phi divides N0 by [L (L + 1)]^2 / 4. All powers are "
        "C_L in\n"
        "    steradian, without L (L + 1) / (2 pi).\n"
        "    N0 is the noise of the unbiased estimate of kappa (the N_L of Hu & Okamoto times L^2 "
        "/ 4).\n"
        "    An estimator's normalisation A_L = 1 / R_L of phi is N0^phi only where weights and "
        "power\n"
        "    agree; here N0 = R_ww / R^2. Every pair of maps is counted once: no factor 1/2 for "
        "XY\n"
        "    against YX as in quicklens. TE has the separable weight 1 / (C^TT C^EE),\n"
        "    and its column leaves out the part of (C^TE)^2, up to 5%%; MV has it.\n"
        "    The maps are deconvolved: their power is C_l + n^2 / b_l^2, with n in uK rad and "
        "b_l^2 =\n"
        "    exp(-l (l + 1) sigma^2), sigma = FWHM / sqrt(8 ln 2).\n"
        "    MV weights the estimators by their responses; its noise has the covariances TT-TE, "
        "TT-EE,\n"
        "    TE-EE and TB-EB. N0 is averaged inversely over the modes of a ring.\n"
        "    Not in it: N1, mean fields and the bias of non-Gaussian noise.\n\n"
        "EXAMPLE\n"
        "    skyquilt n0 --beam 1.4 --noise 6 --bins 50,50,40 --json n0.json\n\n"
        "EXIT CODES\n"
        "    0  complete\n"
        "    1  usage error, or a file that cannot be used: one line says why\n"
        "    4  storage error\n");
}

typedef struct arguments {
    const char *lensed, *potential, *gradient, *beam, *json;
    sq_cl_unit unit[3]; /* lensed, potential, gradient */
    double noise, noise_p, box, first, width;
    int lmin, lmax, side, count, delens_lmin, phi, help;
} arguments;

/* Spectra at L = 0..top; NULL what there is not. */
typedef struct spectra {
    int top;
    double *lensed[4], *gradient[3], *phi, *total[3]; /* TT EE BB TE; TT EE TE; TT EE BB */
} spectra;

static sq_status number(const char *option, const char *text, double low, double high, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= low && *out <= high))
        return sq_fail(SQ_ERR_USAGE, "--%s: '%s' is not a number from %g to %g", option, text, low,
                       high);
    return SQ_OK;
}

static sq_status whole(const char *option, const char *text, int low, int high, int *out)
{
    double value;
    sq_status rc = number(option, text, low, high, &value);
    if (rc == SQ_OK && value != floor(value))
        return sq_fail(SQ_ERR_USAGE, "--%s: '%s' is not a whole number", option, text);
    *out = rc == SQ_OK ? (int)value : 0;
    return rc;
}

static sq_status bins(const char *text, arguments *a)
{
    char tail;
    if (sscanf(text, "%lf,%lf,%d%c", &a->first, &a->width, &a->count, &tail) != 3 ||
        !(a->width > 0 && a->first >= 2 && a->first <= 1e5 && a->width <= 1e5) || a->count < 1 ||
        a->count > BINS_MAX)
        return sq_fail(SQ_ERR_USAGE, "--bins: '%s' is not FIRST,WIDTH,COUNT with up to %d rings",
                       text, BINS_MAX);
    return SQ_OK;
}

/* One unit for all files, or three. */
static sq_status units(const char *text, arguments *a)
{
    char word[4][16] = {"", "", "", ""};
    int count = sscanf(text, "%15[^,],%15[^,],%15[^,],%15s", word[0], word[1], word[2], word[3]);
    if (count != 1 && count != 3)
        return sq_fail(SQ_ERR_USAGE, "--cls-unit: '%s' is not UNIT or UNIT,UNIT,UNIT", text);
    for (int i = 0; i < 3; i++) {
        if (sq_cl_unit_parse(word[count == 1 ? 0 : i], &a->unit[i]) != SQ_OK)
            return sq_fail_in(SQ_ERR_USAGE, "--cls-unit");
    }
    return SQ_OK;
}

static sq_status take(int option, const char *name, const char *value, arguments *a)
{
    switch (option) {
    case 'c':
        if (a->lensed)
            return sq_fail(SQ_ERR_USAGE, "--cls and --cls-lensed are one option: give one file");
        a->lensed = value;
        return SQ_OK;
    case 'p':
        a->potential = value;
        return SQ_OK;
    case 'g':
        a->gradient = value;
        return SQ_OK;
    case 'u':
        return units(value, a);
    case 'b':
        a->beam = value;
        return SQ_OK;
    case 'n':
        return number(name, value, 0, 1e6, &a->noise);
    case 'P':
        return number(name, value, 0, 1e6, &a->noise_p);
    case 'l':
        return whole(name, value, 2, 100000, &a->lmin);
    case 'L':
        return whole(name, value, 3, 100000, &a->lmax);
    case 'B':
        return number(name, value, 0.1, 180, &a->box);
    case 's':
        return whole(name, value, 8, SIDE_MAX, &a->side);
    case 'i':
        return bins(value, a);
    case 'd':
        return whole(name, value, 2, 100000, &a->delens_lmin);
    case 'k':
        a->phi = 1;
        return SQ_OK;
    case 'j':
        a->json = value;
        return SQ_OK;
    case 'h':
        a->help = 1;
        return SQ_OK;
    default:
        return sq_fail(SQ_ERR_USAGE, "unknown option or missing value; see --help");
    }
}

/* The least product of 2, 3 and 5 that is even and not below n. */
static int smooth_size(double n)
{
    for (int side = 2 * (int)ceil(n / 2);; side += 2) {
        int rest = side;
        for (int p = 2; p <= 5; p++) {
            while (rest % p == 0)
                rest /= p;
        }
        if (rest == 1)
            return side;
    }
}

static sq_status read_arguments(int argc, char **argv, arguments *a)
{
    static const struct option table[] = {
        {"cls", 1, 0, 'c'},          {"cls-lensed", 1, 0, 'c'},  {"cls-potential", 1, 0, 'p'},
        {"cls-gradient", 1, 0, 'g'}, {"cls-unit", 1, 0, 'u'},    {"beam", 1, 0, 'b'},
        {"noise", 1, 0, 'n'},        {"noise-p", 1, 0, 'P'},     {"lmin", 1, 0, 'l'},
        {"lmax", 1, 0, 'L'},         {"box", 1, 0, 'B'},         {"side", 1, 0, 's'},
        {"bins", 1, 0, 'i'},         {"delens-lmin", 1, 0, 'd'}, {"phi", 0, 0, 'k'},
        {"json", 1, 0, 'j'},         {"help", 0, 0, 'h'},        {0, 0, 0, 0}};
    int option, index = 0;
    *a = (arguments){.noise = -1,
                     .noise_p = -1,
                     .lmin = 100,
                     .lmax = 3000,
                     .box = 20,
                     .first = 100,
                     .width = 100,
                     .count = 20,
                     .delens_lmin = 2};
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, &index)) != -1) {
        sq_status rc = take(option, option == 'h' ? "help" : table[index].name, optarg, a);
        if (rc != SQ_OK)
            return rc;
    }
    if (a->help)
        return SQ_OK;
    if (optind != argc)
        return sq_fail(SQ_ERR_USAGE, "'%s' is not an option; see --help", argv[optind]);
    if (!a->beam || a->noise < 0)
        return sq_fail(SQ_ERR_USAGE, "--beam and --noise are needed; see --help");
    if ((a->potential || a->gradient) && !a->lensed)
        return sq_fail(SQ_ERR_USAGE, "--cls-%s needs lensed spectra: give --cls-lensed",
                       a->potential ? "potential" : "gradient");
    if (a->noise_p < 0)
        a->noise_p = M_SQRT2 * a->noise;
    double need = a->box * 60 * ARCMIN * 1.5 * a->lmax / M_PI;
    if (!a->side && need > SIDE_MAX)
        return sq_fail(SQ_ERR_USAGE, "--box %g and --lmax %d need %.0f pixels a side, above %d",
                       a->box, a->lmax, need, SIDE_MAX);
    if (!a->side)
        a->side = smooth_size(need);
    return SQ_OK;
}

static void take_column(sq_spectra *file, sq_cl column, double **out)
{
    *out = file->cl[column];
    file->cl[column] = NULL;
}

static sq_status read_file(const char *path, sq_cl_unit unit, unsigned need, int top,
                           sq_spectra *file)
{
    sq_status rc = sq_spectra_read(path, unit, need, top, file);
    if (rc == SQ_OK && file->warning[0])
        fprintf(stderr, "skyquilt n0: warning: %s\n", file->warning);
    return rc;
}

enum {
    TT = 1 << SQ_CL_TT,
    EE = 1 << SQ_CL_EE,
    BB = 1 << SQ_CL_BB,
    TE = 1 << SQ_CL_TE,
    PP = 1 << SQ_CL_PP
};

static sq_status read_lensed(const arguments *a, spectra *s)
{
    sq_status rc = SQ_OK;
    sq_spectra file = {0};
    SQ_TRY(read_file(a->lensed, a->unit[0], TT, s->top, &file));
    unsigned need = file.has & (TT | EE | BB | TE | (a->potential ? 0 : PP));
    if ((need & (EE | BB | TE)) &&
        !(need & BB && file.cl[SQ_CL_BB][1000 < s->top ? 1000 : s->top] > 0)) {
        rc = sq_fail(SQ_ERR_DATA,
                     "%s: no lensing B modes: these spectra are not lensed; give lensed ones as "
                     "--cls-lensed, and these as --cls-potential for their PP",
                     a->lensed);
        goto cleanup;
    }
    if (need & (EE | TE))
        need |= EE | BB | TE;
    sq_spectra_free(&file);
    SQ_TRY(sq_spectra_read(a->lensed, a->unit[0], need, s->top, &file));
    static const sq_cl columns[] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE};
    for (int c = 0; c < 4; c++)
        take_column(&file, columns[c], &s->lensed[c]);
    if (need & PP)
        take_column(&file, SQ_CL_PP, &s->phi);
cleanup:
    sq_spectra_free(&file);
    return rc;
}

static sq_status read_spectra(const arguments *a, spectra *s)
{
    sq_status rc = SQ_OK;
    sq_spectra file = {0};
    SQ_TRY(read_lensed(a, s));
    if (a->potential) {
        SQ_TRY(read_file(a->potential, a->unit[1], TT | PP, s->top, &file));
        take_column(&file, SQ_CL_PP, &s->phi);
        sq_spectra_free(&file);
    }
    if (a->gradient) {
        SQ_TRY(read_file(a->gradient, a->unit[2], s->lensed[1] ? TT | EE | TE : TT, s->top, &file));
        take_column(&file, SQ_CL_TT, &s->gradient[0]);
        take_column(&file, SQ_CL_EE, &s->gradient[1]);
        take_column(&file, SQ_CL_TE, &s->gradient[2]);
    }
cleanup:
    sq_spectra_free(&file);
    return rc;
}

static sq_status fiducial(spectra *s)
{
    static const sq_fiducial kinds[] = {SQ_LENSED_TT,   SQ_LENSED_EE,   SQ_LENSED_BB,
                                        SQ_LENSED_TE,   SQ_GRADIENT_TT, SQ_GRADIENT_EE,
                                        SQ_GRADIENT_TE, SQ_POTENTIAL};
    double **out[] = {&s->lensed[0],   &s->lensed[1],   &s->lensed[2],   &s->lensed[3],
                      &s->gradient[0], &s->gradient[1], &s->gradient[2], &s->phi};
    sq_status rc = SQ_OK;
    for (int i = 0; i < 8; i++) {
        SQ_TRY(sq_alloc(out[i], (size_t)s->top + 1, sizeof(double), "spectrum"));
        SQ_TRY(sq_fiducial_spectrum(kinds[i], s->top, *out[i]));
    }
cleanup:
    return rc;
}

/* b_l from a width in arcmin or a file. */
static sq_status read_beam(const char *text, int lmax, double *beam)
{
    char *end;
    double fwhm = strtod(text, &end);
    if (end == text || *end)
        return sq_beam_read(text, lmax, beam);
    if (!(fwhm >= 0 && fwhm <= 600))
        return sq_fail(SQ_ERR_USAGE, "--beam: '%s' arcmin is not within 0..600", text);
    sq_beam_gauss(fwhm * ARCMIN, lmax, beam);
    return SQ_OK;
}

static sq_status add_noise(const arguments *a, spectra *s)
{
    sq_status rc = SQ_OK;
    double *beam = NULL;
    SQ_TRY(SQ_ALLOC(beam, s->top + 1, "beam"));
    SQ_TRY(read_beam(a->beam, a->lmax, beam));
    for (int c = 0; c < (s->lensed[1] ? 3 : 1); c++) {
        double level = (c ? a->noise_p : a->noise) * ARCMIN;
        SQ_TRY(SQ_ALLOC(s->total[c], s->top + 1, "spectrum"));
        for (int l = 0; l <= a->lmax; l++)
            s->total[c][l] = s->lensed[c][l] + pow(level / beam[l], 2);
    }
cleanup:
    sq_free(beam);
    return rc;
}

static void drop(spectra *s)
{
    for (int i = 0; i < 4; i++)
        sq_free(s->lensed[i]);
    for (int i = 0; i < 3; i++) {
        sq_free(s->gradient[i]);
        sq_free(s->total[i]);
    }
    sq_free(s->phi);
}

/* N0 of kappa in rings, value[SERIES][count]; NaN what there is not. */
static sq_status compute(const arguments *a, const spectra *s, double (*value)[BINS_MAX])
{
    sq_status rc = SQ_OK;
    sq_quadratic *q = NULL;
    double *n0 = NULL, pixel = a->box * 60 * ARCMIN / a->side;
    sq_flat flat = {a->side, a->side, pixel, pixel};
    sq_qe_spectra spectra = {.weight_tt = s->lensed[0],
                             .weight_ee = s->lensed[1],
                             .weight_te = s->lensed[3],
                             .response_tt = s->gradient[0],
                             .response_ee = s->gradient[1],
                             .response_te = s->gradient[2],
                             .total_tt = s->total[0],
                             .total_ee = s->total[1],
                             .total_bb = s->total[2]};
    unsigned kinds = s->lensed[1] ? (1u << SQ_QE_COUNT) - 1 : 1u << SQ_QE_TT;
    SQ_TRY(sq_quadratic_create(&flat, a->lmin, a->lmax, &spectra, &q));
    SQ_TRY(SQ_ALLOC(n0, sq_flat_modes(&flat), "noise"));
    for (int i = 0; i < SERIES; i++) {
        int there = i < MV ? kinds >> i & 1 : i == MV ? 1 : kinds > 1 && s->phi;
        if (!there) {
            for (int b = 0; b < a->count; b++)
                value[i][b] = NAN;
            continue;
        }
        if (i < MV)
            SQ_TRY(sq_quadratic_n0(q, (sq_qe)i, n0));
        else if (i == MV)
            SQ_TRY(sq_quadratic_combined_n0(q, kinds, s->lensed[3], n0));
        else
            SQ_TRY(sq_iterative_n0(&flat, a->lmin, a->lmax, &spectra, s->lensed[2], s->phi,
                                   a->delens_lmin, n0, NULL));
        sq_quadratic_ring(&flat, n0, a->first, a->width, a->count, value[i]);
    }
cleanup:
    sq_free(n0);
    sq_quadratic_destroy(q);
    return rc;
}

/* From kappa to what is printed. */
static double scale(const arguments *a, double l)
{
    return a->phi ? 4 / pow(l * (l + 1), 2) : 1;
}

static double signal(const arguments *a, const spectra *s, double l)
{
    if (!s->phi || l > s->top)
        return NAN;
    return sq_table_at(s->phi, s->top, l) * (a->phi ? 1 : pow(l * (l + 1), 2) / 4);
}

static void print_cell(double value)
{
    if (isfinite(value))
        printf(" %10.4e", value);
    else
        printf(" %10s", "-");
}

static void print_table(const arguments *a, const spectra *s, double (*value)[BINS_MAX])
{
    const char *what = a->phi ? "phi" : "kk";
    printf("# N0 of %s in steradian; T %g, Q and U %g uK arcmin, beam %s, l = %d..%d, box %g deg, "
           "%d pixels\n# spectra: %s%s\n",
           a->phi ? "the potential phi" : "the convergence kappa", a->noise, a->noise_p, a->beam,
           a->lmin, a->lmax, a->box, a->side, a->lensed ? a->lensed : "fiducial",
           s->gradient[0] ? "" : ", responses with lensed instead of gradient-lensed spectra");
    printf("#%6s %8s%-2s", "L", "C^", what);
    for (int i = 0; i < SERIES; i++)
        printf(" %10s", series_names[order[i]]);
    printf("\n");
    for (int b = 0; b < a->count; b++) {
        double l = a->first + b * a->width;
        printf("%7g", l);
        print_cell(signal(a, s, l));
        for (int i = 0; i < SERIES; i++)
            print_cell(value[order[i]][b] * scale(a, l));
        printf("\n");
    }
}

static void write_settings(const arguments *a, json *j)
{
    json_text(j, "quantity", a->phi ? "phi" : "kappa");
    json_text(j, "unit", "steradian");
    json_text(j, "cls_lensed", a->lensed ? a->lensed : "fiducial");
    json_text(j, "beam", a->beam);
    json_real(j, "noise_t_uk_arcmin", a->noise);
    json_real(j, "noise_p_uk_arcmin", a->noise_p);
    json_integer(j, "lmin", a->lmin);
    json_integer(j, "lmax", a->lmax);
    json_real(j, "box_deg", a->box);
    json_integer(j, "side", a->side);
    json_real(j, "ring_width", a->width);
}

static sq_status write_json(const arguments *a, const spectra *s, double (*value)[BINS_MAX])
{
    json j;
    sq_status rc = json_create(a->json, &j);
    if (rc != SQ_OK)
        return rc;
    json_open(&j, NULL, '{');
    write_settings(a, &j);
    for (int i = -2; i < SERIES; i++) {
        json_open(&j, i == -2 ? "l" : i == -1 ? "signal" : series_keys[order[i]], '[');
        for (int b = 0; b < a->count; b++) {
            double l = a->first + b * a->width;
            json_real(&j, NULL,
                      i == -2   ? l
                      : i == -1 ? signal(a, s, l)
                                : value[order[i]][b] * scale(a, l));
        }
        json_close(&j, ']');
    }
    json_close(&j, '}');
    return json_finish(&j, a->json);
}

int sq_cli_n0(int argc, char **argv)
{
    sq_status rc = SQ_OK;
    arguments a;
    spectra s = {0};
    double(*value)[BINS_MAX] = NULL;
    SQ_TRY(read_arguments(argc, argv, &a));
    if (a.help) {
        help();
        return 0;
    }
    s.top = (int)fmax(a.lmax, 300);
    SQ_TRY(a.lensed ? read_spectra(&a, &s) : fiducial(&s));
    SQ_TRY(add_noise(&a, &s));
    SQ_TRY(SQ_ALLOC(value, SERIES, "table"));
    SQ_TRY(compute(&a, &s, value));
    print_table(&a, &s, value);
    if (a.json)
        SQ_TRY(write_json(&a, &s, value));
cleanup:
    drop(&s);
    sq_free(value);
    return rc == SQ_OK ? 0 : sq_cli_fail("n0", rc);
}
