/* A pair of plans in one precision. Included twice by fft.c with
 *   REAL     double or float
 *   COMPLEX  its complex type
 *   NAME(x)  sq_fft##x or sq_fftf##x
 *   FFTW(x)  fftw_##x or fftwf_##x
 *   PRECISION a word for messages */

struct NAME() {
    int ny, nx;
    size_t pixels, modes;
    REAL *map;
    COMPLEX *half;      /* also the scratch space that a backward transform destroys */
    FFTW(plan) forward, backward;
};

sq_status NAME(_create)(int ny, int nx, struct NAME() * *out)
{
    sq_status rc = SQ_OK;
    struct NAME() *fft = NULL;
    *out = NULL;
    SQ_TRY(sq_fft_check_size(ny, nx));
    SQ_TRY(SQ_ALLOC(fft, 1, "FFT plan"));
    fft->ny = ny;
    fft->nx = nx;
    fft->pixels = (size_t)ny * (size_t)nx;
    fft->modes = (size_t)ny * (size_t)(nx / 2 + 1);
    SQ_TRY(SQ_ALLOC(fft->map, fft->pixels, "FFT map"));
    SQ_TRY(SQ_ALLOC(fft->half, fft->modes, "FFT modes"));
    unsigned flags = sq_fft_planner_lock();
    fft->forward = FFTW(plan_dft_r2c_2d)(ny, nx, fft->map, (FFTW(complex) *)fft->half, flags);
    fft->backward = FFTW(plan_dft_c2r_2d)(ny, nx, (FFTW(complex) *)fft->half, fft->map, flags);
    sq_fft_planner_unlock();
    if (!fft->forward || !fft->backward) {
        rc = sq_fft_no_plan(ny, nx, PRECISION);
        goto cleanup;
    }
    *out = fft;
    fft = NULL;
cleanup:
    NAME(_destroy)(fft);
    return rc;
}

/* The plan may be used on arrays that are aligned like its own: sq_alloc aligns to 64 bytes. */
static int NAME(_aligned)(const void *pointer)
{
    return FFTW(alignment_of)((REAL *)(uintptr_t)pointer) == 0;
}

void NAME(_forward)(struct NAME() * fft, const REAL *map, COMPLEX *modes)
{
    if (NAME(_aligned)(map) && NAME(_aligned)(modes)) {
        /* A real-to-complex transform out of place preserves its input. */
        FFTW(execute_dft_r2c)(fft->forward, (REAL *)(uintptr_t)map, (FFTW(complex) *)modes);
        return;
    }
    memcpy(fft->map, map, fft->pixels * sizeof *map);
    FFTW(execute)(fft->forward);
    memcpy(modes, fft->half, fft->modes * sizeof *modes);
}

void NAME(_backward)(struct NAME() * fft, const COMPLEX *modes, REAL *map)
{
    REAL scale = 1 / (REAL)fft->pixels, *out = NAME(_aligned)(map) ? map : fft->map;
    memcpy(fft->half, modes, fft->modes * sizeof *modes);
    FFTW(execute_dft_c2r)(fft->backward, (FFTW(complex) *)fft->half, out);
    for (size_t i = 0; i < fft->pixels; i++)
        map[i] = out[i] * scale;
}

void NAME(_destroy)(struct NAME() * fft)
{
    if (!fft)
        return;
    sq_fft_planner_lock();
    FFTW(destroy_plan)(fft->forward);
    FFTW(destroy_plan)(fft->backward);
    sq_fft_planner_unlock();
    sq_free(fft->map);
    sq_free(fft->half);
    sq_free(fft);
}
