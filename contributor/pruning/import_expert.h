#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

struct ImportOptions {
  // The anchor that the expert is for.
  std::filesystem::path model_directory;
  // An expert file, or a mixtral or flex_olmo directory whose expert 0 is the
  // anchor's own FFN.
  std::filesystem::path from_path;
  // Of a directory.
  int64_t expert_index = 1;
};

struct ImportedExpert {
  std::vector<int64_t> widths;  // one per layer of the model
  // Tensors of the directory that were compared with the anchor's, and SHA-256
  // (hex) over their names and values; 0 and empty for an expert file.
  int64_t compared_tensors = 0;
  std::string frozen_digest;
};

// Writes the expert in the layout of an expert file, its matrices in bf16 when
// all of them are stored so and in fp32 otherwise, with the rows that came with
// it. Of a directory, everything but the experts 1 and up must equal the
// anchor's, value by value; an expert's row is taken relative to the public
// one, which the shares of the two do not notice. A layer whose expert is the
// anchor's FFN has width 0, and trailing channels of zeros are padding.
//
// INVALID_ARGUMENT naming the first setting or tensor that differs, for an
// index that is not there, for a model that chooses fewer than two experts, and
// as ExpertFile::Open.
StatusOr<ImportedExpert> ImportExpert(const ImportOptions& options,
                                      const std::filesystem::path& output_path);

}  // namespace tributary::contributor
