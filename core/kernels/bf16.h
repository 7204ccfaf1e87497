// bf16: conversion, and products with sums in f32.
#pragma once

#include "core/kernels/gemm.h"

namespace reel {

// Whether this machine has instructions for it. Elsewhere everything here gives the same numbers, up to the
// order of sums, but rounds to bf16 and multiplies in f32: correct, not faster.
bool bf16_is_fast();
void pretend_bf16_is_slow(bool slow);  // for tests

// Rounds to the nearest, ties to even; NaN stays NaN. Both lie the same way: by rows or by columns.
void to_bf16(int64_t rows, int64_t columns, Matrix<const float> from, Matrix<Bf16> to);
void from_bf16(int64_t rows, int64_t columns, Matrix<const Bf16> from, Matrix<float> to);

// C[m, n] = A[m, k] B[k, n] + beta C, with beta 0 or 1. What beta asks for is added once at the end: to start
// from it would round every partial sum at its size.
void gemm(int64_t m, int64_t n, int64_t k, Matrix<const Bf16> a, Matrix<const Bf16> b, Matrix<float> c,
          float beta);
// The same of f32 operands, both rounded first.
void gemm_bf16(int64_t m, int64_t n, int64_t k, Matrix<const float> a, Matrix<const float> b, Matrix<float> c,
               float beta);

// --- what packed.cpp needs

// One block of 64 columns from `columns` of B: rows in pairs, pairs of a column next to each other, zeros
// behind.
void pack_bf16_panel(int64_t k, int64_t columns, Matrix<const float> b, Bf16* panel);

// Calls product(target) with c, or, to add, with other memory that is then added to c.
void into_or_onto(int64_t m, int64_t n, Matrix<float> c, float beta, Callable<Matrix<float>> product);

// Memory that belongs to the calling thread; a later call with the same slot (0 to 4) takes it over.
void* thread_room(int slot, size_t bytes);

}  // namespace reel
