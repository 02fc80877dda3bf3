// Included inside functions: what one step of a loop over points computes, and how it is combined.

#if defined(__clang__) && !defined(__CUDA__)
const int width = 8;
typedef float floats __attribute__((vector_size(4 * width)));
typedef int ints __attribute__((vector_size(4 * width)));
typedef wp::int64 longs __attribute__((vector_size(8 * width)));
auto wide = [](ints p) { return __builtin_convertvector(p, longs); };
auto any = [](longs p) { return __builtin_reduce_or(p) != 0; };
#else
const int width = 1;
typedef float floats;
typedef int ints;
typedef wp::int64 longs;
auto wide = [](ints p) { return (longs)p; };
auto any = [](longs p) { return p != 0; };
#endif
