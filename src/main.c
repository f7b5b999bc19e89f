#include "cli/commands.h"

int main(int argc, char **argv)
{
    return sq_cli_main(argc, argv);
}
