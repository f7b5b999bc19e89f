#include "cli/version.h"

#include "fits/version.h"
#include "fourier/fft.h"
#include "nn/model.h"
#include "par/comm.h"
#include "sky/version.h"
#include "store/version.h"

void sq_cli_version(FILE *out)
{
    fprintf(out, "skyquilt %s\n", SQ_VERSION);
    fprintf(out, "  message passing  %s\n", sq_comm_version());
    fprintf(out, "  storage          %s\n", sq_hdf5_version());
    fprintf(out, "  images           %s\n", sq_cfitsio_version());
    fprintf(out, "  coordinates      %s\n", sq_wcslib_version());
    fprintf(out, "  transforms       %s\n", sq_fft_version());
    fprintf(out, "  networks         %s\n", sq_nn_version());
}
