// All operations on tensors.
#pragma once

#include "core/structural.h"
#include "ops/activations.h"
#include "ops/arithmetic.h"
#include "ops/indexing.h"
#include "ops/losses.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/random.h"
#include "ops/reductions.h"
#include "ops/scan.h"
#include "ops/shape.h"
#include "ops/softmax.h"
