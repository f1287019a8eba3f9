#pragma once

// What a merge knows of one expert. Nothing here reads or hashes an expert's
// weights: where its router rows lie follows from widths and ranks.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"
#include "common/manifest/release_manifest.h"
#include "common/safetensors/reader.h"

namespace tributary::coordinator {

// Rows inside an expert file; `router_digest` is what its owner signed. Where
// they lie follows from widths and ranks (ExpertLayout).
struct RowsInExpertFile {
  std::filesystem::path file;
  std::string router_digest;
  std::vector<int64_t> ranks = {};
};

// Row `index` of the router file of another release, whose digest was checked.
struct RowsInRouter {
  std::shared_ptr<const safetensors::File> router;
  int64_t index = 0;
};

// One accepted contribution.
struct MergeExpert {
  std::string anchor_digest;
  manifest::ReleaseManifest::Expert entry;  // as the release will list it
  std::variant<RowsInExpertFile, RowsInRouter> rows;

  const std::string& contribution() const { return entry.contribution; }
};

// From a manifest that is at hand.
StatusOr<MergeExpert> MergeExpertOf(const manifest::ExpertManifest& manifest,
                                    const std::filesystem::path& file);

// From the text of a manifest that was checked when it was admitted; reads only
// the fields that a merge needs. INVALID_ARGUMENT when the text does not have
// this digest or lacks one of them.
StatusOr<MergeExpert> MergeExpertOfJson(std::string_view manifest_json,
                                        const std::string& manifest_digest,
                                        const std::filesystem::path& file);

// Reads one expert's router rows, some layers at a time, in order.
class RowReader {
 public:
  // `expert` outlives the reader.
  RowReader(const MergeExpert& expert, int64_t num_layers, int64_t hidden_size);

  // The bytes of a layer's row: weight [h], then bias, float32.
  uint64_t layer_bytes() const { return layer_bytes_; }

  // The next `layers` layers into `out`, layer_bytes() each. NOT_FOUND when the
  // file is gone, INVALID_ARGUMENT when its size is not that of the widths.
  Status Read(int64_t layers, std::span<std::byte> out);

  // Takes what Read gave into the digest, everything once and in order; may
  // run on another thread.
  void Hash(std::span<const std::byte> rows);

  // After the last layer: INVALID_ARGUMENT unless all rows together have the
  // digest that the manifest names.
  Status Finish() const;

 private:
  Status ReadExpertFile(const RowsInExpertFile& source, int64_t layers,
                        std::span<std::byte> out);
  Status ReadRouter(const RowsInRouter& source, int64_t layers,
                    std::span<std::byte> out) const;
  // Bytes of a layer's matrices or factors, which come before its row.
  uint64_t MatrixBytes(int64_t layer) const;

  const MergeExpert& expert_;
  const int64_t num_layers_;
  const int64_t hidden_size_;
  const uint64_t layer_bytes_;
  int64_t next_layer_ = 0;
  uint64_t position_ = 0;  // in the expert file; 0: not opened yet
  crypto::Sha256 digest_;
};

}  // namespace tributary::coordinator
