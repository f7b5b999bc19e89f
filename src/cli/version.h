/* What `skyquilt --version` prints. Local. */
#ifndef SQ_CLI_VERSION_H
#define SQ_CLI_VERSION_H

#include <stdio.h>

void sq_cli_version(FILE *out);

#endif
