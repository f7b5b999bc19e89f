/* Candidates of the matched filter and of a network of maps together.
 *
 * A peak of the network's first head (logit of a halo's centre) above UNION_LOGIT where the
 * filter's S/N is at least UNION_SNR is a candidate. The nearest of the filter's candidates within
 * UNION_NEAR that no stronger peak has taken moves there: the filter's peak is of a scale that may
 * hold several halos, the network's of one centre. Peaks that find none become candidates of their
 * own, with what the filter says at their pixel. The filter's other candidates stay as they are.
 * Local.
 */
#ifndef SQ_CLUSTERS_UNION_H
#define SQ_CLUSTERS_UNION_H

#include "clusters/network.h"
#include "clusters/patch.h"

/* Free *out with sq_free. `pixel` in arcmin. */
sq_status cluster_union(const cluster_patch *patch, const sq_cluster_network *network, double pixel,
                        sq_candidate **out, int64_t *count);

#endif
