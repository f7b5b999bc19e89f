/* The lensing network of a model on one simulated box: what it was given and what it said, as HDF5.
 *
 * Usage: network_tool MODEL OUT.h5 */
#include <stdio.h>

#include "lensed_sky.h"
#include "lensing/network.h"
#include "store/tensor.h"

static int check(sq_status rc)
{
    if (rc != SQ_OK)
        fprintf(stderr, "network_tool: %s\n", sq_error());
    return rc == SQ_OK;
}

static int run(const char *path, sq_h5 *out)
{
    sky s;
    sq_model *model;
    sq_lensing_net net;
    sq_lensing_network *network;
    sq_lensing_inputs *in;
    double noise[3001];
    sky_open(&s, 128, 2.34375);
    sky_draw(&s, 1, 1, 1, M_SQRT2);
    for (int l = 0; l <= 3000; l++)
        noise[l] = 2 * ARCMIN * ARCMIN;
    int64_t image[] = {SQ_LENSING_CHANNELS, 128, 128}, condition[] = {SQ_LENSING_CONDITIONS};
    int fine =
        check(sq_model_load(path, NULL, &model)) && check(sq_lensing_net_read(model, path, &net)) &&
        check(sq_lensing_network_create(model, &net, &s.flat, SQ_FP32, &network)) &&
        check(sq_lensing_inputs_create(&s.flat, net.lmin, net.lmax, noise, 4, 1, &in)) &&
        check(sq_lensing_inputs_fill(in, s.field[1], s.field[2])) &&
        check(sq_lensing_network_run(network, in)) &&
        check(sq_h5_append(out, "image", SQ_F32, 3, image, sq_lensing_inputs_image(in))) &&
        check(sq_h5_append(out, "condition", SQ_F32, 1, condition,
                           sq_lensing_inputs_conditions(in))) &&
        check(sq_h5_append(out, "mean", SQ_F32, 2, image + 1, sq_lensing_network_mean(network))) &&
        check(sq_h5_append(out, "scatter", SQ_F32, 2, image + 1,
                           sq_lensing_network_scatter(network)));
    if (fine) {
        sq_lensing_inputs_destroy(in);
        sq_lensing_network_destroy(network);
        sq_model_destroy(model);
    }
    sky_close(&s);
    return fine;
}

int main(int argc, char **argv)
{
    sq_h5 *out;
    if (argc != 3 || !check(sq_h5_create(argv[2], &out)))
        return 1;
    if (!run(argv[1], out)) {
        sq_h5_abandon(out);
        return 1;
    }
    return !check(sq_h5_close(out));
}
