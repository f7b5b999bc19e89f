/* The library of world coordinate systems that the program runs with. Local. */
#ifndef SQ_SKY_VERSION_H
#define SQ_SKY_VERSION_H

const char *sq_wcslib_version(void);   /* "wcslib 7.12" */

#endif
