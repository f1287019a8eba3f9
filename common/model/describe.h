#pragma once

#include "common/base/json.h"
#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::model {

// What a model is, without reading its weights:
// {"kind": "anchor" | "mixture" | "release", "model_type", "num_layers",
//  "hidden_size", "intermediate_size", "vocab_size", "num_heads",
//  "num_kv_heads", "tied_embeddings", "context", "parameters": {"total",
//  "active", "anchor"}, "routing": {"top_k", "renormalise"} | null,
//  "num_experts" (with the public one), "experts": [{"name", "widths",
//  "parameters"}]}.
// "active" counts what one token meets: for experts of unequal width the mean
// of the chosen ones. Errors as LoadSource.
StatusOr<Json> DescribeModel(const Source& source);

}  // namespace tributary::model
