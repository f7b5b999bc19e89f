#include "cm.h"

#include "base/mem.h"
#include "base/rng.h"
#include "scratch.h"
#include "store/tensor.h"
#include "store/tile_index.h"

enum { TILES = 37 };

static void file_of(sq_rng *rng, sq_file_identity *file, int there)
{
    if (!there)
        return;
    snprintf(file->path, sizeof file->path, "/survey/%u/frame \xc3\xa9-%u.fits",
             sq_rng_u32(rng) % 9, sq_rng_u32(rng));
    file->size = (int64_t)(sq_rng_u64(rng) >> 20);
    file->mtime = sq_rng_range(rng, 1e9, 2e9);
    snprintf(file->checksum, sizeof file->checksum, "%08x%08x", sq_rng_u32(rng), 7u);
    snprintf(file->datasum, sizeof file->datasum, "%u", sq_rng_u32(rng));
}

static sq_tile *survey(void)
{
    sq_tile *tile;
    ok(SQ_ALLOC(tile, TILES, "tiles"));
    for (int t = 0; t < TILES; t++) {
        sq_rng rng;
        sq_rng_init(&rng, 3, 0, (uint64_t)t);
        snprintf(tile[t].name, sizeof tile[t].name, "%06d-1-%04d", 94, t);
        tile[t].format = (sq_tile_format)(1 + t % 3);
        tile[t].nband = t % (SQ_MAX_BANDS + 1);
        tile[t].reference = tile[t].nband / 2;
        file_of(&rng, &tile[t].psf, t % 2);
        file_of(&rng, &tile[t].calibration, t % 3);
        for (int i = 0; i < 4; i++) {
            tile[t].corner_ra[i] = sq_rng_range(&rng, 0, 360);
            tile[t].corner_dec[i] = sq_rng_range(&rng, -90, 90);
        }
        for (int b = 0; b < tile[t].nband; b++) {
            char cards[200];
            sq_tile_band *band = &tile[t].band[b];
            snprintf(band->name, sizeof band->name, "b%d", b);
            file_of(&rng, &band->image, 1);
            file_of(&rng, &band->mask, b % 2);
            band->nx = 2048 + b;
            band->ny = 1489;
            snprintf(cards, sizeof cards, "CRVAL1  = %f", tile[t].corner_ra[0]);
            if (b != 3)
                ok(sq_strdup(&band->wcs_header, cards));
        }
    }
    return tile;
}

static void same_file(const sq_file_identity *a, const sq_file_identity *b)
{
    assert_string_equal(a->path, b->path);
    assert_int_equal(a->size, b->size);
    assert_true(a->mtime == b->mtime);
    assert_string_equal(a->checksum, b->checksum);
    assert_string_equal(a->datasum, b->datasum);
}

static void tiles_come_back(void **state)
{
    (void)state;
    sq_tile *tile = survey(), *back;
    int64_t n;
    ok(sq_tile_index_write(scratch("index.h5"), tile, TILES));
    ok(sq_tile_index_read(scratch("index.h5"), &back, &n));
    assert_int_equal(n, TILES);
    for (int t = 0; t < TILES; t++) {
        assert_string_equal(tile[t].name, back[t].name);
        assert_int_equal(tile[t].format, back[t].format);
        assert_int_equal(tile[t].nband, back[t].nband);
        assert_int_equal(tile[t].reference, back[t].reference);
        assert_memory_equal(tile[t].corner_ra, back[t].corner_ra, sizeof tile[t].corner_ra);
        assert_memory_equal(tile[t].corner_dec, back[t].corner_dec, sizeof tile[t].corner_dec);
        same_file(&tile[t].psf, &back[t].psf);
        same_file(&tile[t].calibration, &back[t].calibration);
        for (int b = 0; b < tile[t].nband; b++) {
            const sq_tile_band *p = &tile[t].band[b], *q = &back[t].band[b];
            assert_string_equal(p->name, q->name);
            assert_int_equal(p->nx, q->nx);
            same_file(&p->image, &q->image);
            same_file(&p->mask, &q->mask);
            assert_int_equal(p->wcs_header == NULL, q->wcs_header == NULL);
            if (p->wcs_header)
                assert_string_equal(p->wcs_header, q->wcs_header);
        }
    }
    assert_true(sq_hash_equal(sq_tile_index_hash(tile, TILES), sq_tile_index_hash(back, TILES)));
    strcpy(back[5].psf.path, "/moved");
    back[5].psf.mtime++;
    assert_true(sq_hash_equal(sq_tile_index_hash(tile, TILES), sq_tile_index_hash(back, TILES)));
    back[5].psf.size++;
    assert_false(sq_hash_equal(sq_tile_index_hash(tile, TILES), sq_tile_index_hash(back, TILES)));
    /* The same tiles give the same bytes. */
    size_t n1, n2;
    ok(sq_tile_index_write(scratch("again.h5"), tile, TILES));
    unsigned char *one = slurp(scratch("index.h5"), &n1), *two = slurp(scratch("again.h5"), &n2);
    assert_int_equal(n1, n2);
    assert_memory_equal(one, two, n1);
    free(one);
    free(two);
    sq_tile_index_free(tile, TILES);
    sq_tile_index_free(back, n);
}

static void an_empty_survey_is_legal(void **state)
{
    (void)state;
    sq_tile *back;
    int64_t n = 7;
    ok(sq_tile_index_write(scratch("empty.h5"), NULL, 0));
    ok(sq_tile_index_read(scratch("empty.h5"), &back, &n));
    assert_int_equal(n, 0);
    sq_tile_index_free(back, n);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    sq_tile *tile = survey(), *back;
    int64_t n = 1;
    sq_h5 *h5;
    strcpy(tile[3].name, tile[9].name);
    assert_int_equal(sq_tile_index_write(scratch("two.h5"), tile, TILES), SQ_ERR_USAGE);
    assert_int_equal(sq_tile_index_read(scratch("two.h5"), &back, &n), SQ_ERR_IO);
    sq_tile_index_free(tile, TILES);
    spill(scratch("junk.h5"), "not an index", 12);
    assert_int_equal(sq_tile_index_read(scratch("junk.h5"), &back, &n), SQ_ERR_FORMAT);
    ok(sq_h5_create(scratch("other.h5"), &h5));
    ok(sq_h5_append(h5, "x", SQ_I64, 1, &n, &n));
    ok(sq_h5_close(h5));
    assert_int_equal(sq_tile_index_read(scratch("other.h5"), &back, &n), SQ_ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tiles_come_back, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(an_empty_survey_is_legal, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(other_files_are_refused, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
