// All of reel.
#pragma once

#include "core/gradcheck.h"
#include "core/once.h"
#include "core/tensor.h"
#include "nn/nn.h"
#include "ops/ops.h"
#include "optim/optim.h"
