#pragma once

// Windows that several documents share: who reads them must keep attention and
// predictions within documents.

#include <memory>
#include <string>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/evaluation/log_loss.h"
#include "common/safetensors/reader.h"

namespace tributary::contributor {

// The tensor "<split>_documents" for windows [B, S]: the number of each
// position's document in its window, int64, ascending; undefined when there is
// none (every window is one document). INVALID_ARGUMENT for another shape or
// type, for numbers that do not ascend, and for a window in which nothing is to
// be predicted.
StatusOr<at::Tensor> ReadDocuments(
    const std::shared_ptr<const safetensors::File>& file,
    const std::string& split, const at::Tensor& ids_BS);

using evaluation::HasTarget;

}  // namespace tributary::contributor
