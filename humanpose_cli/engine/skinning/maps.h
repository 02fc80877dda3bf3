// Included inside functions: a bone's map as one vector of the processor, and where body b's maps are.
#if defined(__clang__) && !defined(__CUDA__)
typedef float sixteen __attribute__((vector_size(64), aligned(4)));
typedef float four __attribute__((vector_size(16), aligned(4)));
#define MAP_VECTORS
#endif
const int slots = bone_indices.shape[1];
const long long bones = maps.shape[1];
const float* body_maps = (const float*)(maps.data + b * bones);
