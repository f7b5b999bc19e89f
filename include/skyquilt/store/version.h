/* The storage library that the program runs with. Local. */
#ifndef SQ_STORE_VERSION_H
#define SQ_STORE_VERSION_H

/* "HDF5 1.10.8": of the library that is loaded, which may differ from the headers' of the build. */
const char *sq_hdf5_version(void);
/* 1 when the loaded library's major and minor version are those that the program was built with. */
int sq_hdf5_matches(void);

#endif
