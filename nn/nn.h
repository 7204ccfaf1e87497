// All modules.
#pragma once

#include "nn/attention.h"
#include "nn/cells.h"
#include "nn/init.h"
#include "nn/layer_norm_lstm.h"
#include "nn/layers.h"
#include "nn/module.h"
#include "nn/recurrent.h"
#include "nn/safetensors.h"
#include "nn/transformer.h"
#include "nn/tree_lstm.h"
