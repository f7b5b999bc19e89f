/* The lensing network on the channels of lensing/inputs.h: an ensemble in one ONNX file.
 *
 * Inputs `image` [1, 6, H, W] and `condition` [1, 2], output `members` [1, M, H, W], each a
 * whitened map whose mean over the M members is the network's; their scatter is the epistemic
 * error, what training has left open. The network is fully convolutional: a periodic box is given
 * with `pad` pixels of itself around. Metadata skyquilt.*: kind = lensing, layout = lensing-1,
 * name, version, pixel (arcmin), lmin, lmax, pad, multiple (of which H and W are), domain_low and
 * domain_high of the conditions. Local; a handle is used by one thread; nothing is allocated in a
 * run. */
#ifndef SQ_LENSING_NETWORK_H
#define SQ_LENSING_NETWORK_H

#include "fourier/flat.h"
#include "lensing/inputs.h"
#include "nn/model.h"

enum { SQ_LENSING_MEMBERS = 16 };

/* What a model says of itself. */
typedef struct sq_lensing_net {
    char name[64], version[32];
    double pixel; /* arcmin */
    int lmin, lmax, pad, multiple, members;
    double domain[2][SQ_LENSING_CONDITIONS]; /* lowest and highest */
} sq_lensing_net;

/* SQ_ERR_CONFIG names `path` and the key. */
sq_status sq_lensing_net_read(const sq_model *model, const char *path, sq_lensing_net *net);

typedef struct sq_lensing_network sq_lensing_network;

/* For boxes of this grid. SQ_ERR_CONFIG when its pixels or sides are not the network's. The model
 * is borrowed during the call. */
sq_status sq_lensing_network_create(const sq_model *model, const sq_lensing_net *net,
                                    const sq_flat *flat, sq_precision precision,
                                    sq_lensing_network **out);
void sq_lensing_network_destroy(sq_lensing_network *n);
/* Of inputs that are filled: the ensemble's mean and standard deviation (0 of one member),
 * whitened, [ny * nx], for sq_lensing_inputs_finish. */
sq_status sq_lensing_network_run(sq_lensing_network *n, const sq_lensing_inputs *in);
const float *sq_lensing_network_mean(const sq_lensing_network *n);
const float *sq_lensing_network_scatter(const sq_lensing_network *n);
/* Noise or beam beyond those of the training. */
int sq_lensing_out_of_domain(const sq_lensing_net *net, const float *conditions);

#endif
