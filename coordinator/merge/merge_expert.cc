#include "coordinator/merge/merge_expert.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/manifest/expert_file_check.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/parameter_names.h"

namespace tributary::coordinator {
namespace {

// As safetensors::HeaderLimits::ForExpert.
constexpr uint64_t kMaxHeaderBytes = 1 << 20;

Status ReadAt(const FileDescriptor& file, uint64_t position,
              std::span<std::byte> out, const std::filesystem::path& path) {
  while (!out.empty()) {
    const ssize_t got =
        pread(file.get(), out.data(), out.size(), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return ErrnoStatus(errno, "read " + path.string());
    }
    if (got == 0) {
      return DataLoss("{}: ended at byte {} while being read", path.string(),
                      position);
    }
    out = out.subspan(static_cast<size_t>(got));
    position += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

const Json* StringField(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? &*found : nullptr;
}

// Part of the name of every factor (model_format::ExpertFactorA).
constexpr std::string_view kFactor = ".lora_A.weight";

// As manifest::RanksOf, from the manifest's JSON.
StatusOr<std::vector<int64_t>> RanksOf(const Json& manifest, size_t layers) {
  std::map<std::string, int64_t> factors;
  const auto tensors = manifest.find("tensors");
  if (tensors != manifest.end() && tensors->is_array()) {
    for (const Json& tensor : *tensors) {
      const Json* name =
          tensor.is_object() ? StringField(tensor, "name") : nullptr;
      const auto shape = name != nullptr ? tensor.find("shape") : tensor.end();
      if (name != nullptr && shape != tensor.end() && shape->is_array() &&
          shape->size() == 2 && (*shape)[0].is_number_unsigned()) {
        factors.emplace(name->get<std::string>(), (*shape)[0].get<int64_t>());
      }
    }
  }
  std::vector<int64_t> ranks;
  for (size_t l = 0; l < layers; ++l) {
    const auto found = factors.find(model_format::ExpertFactorA(
        static_cast<int64_t>(l), model_format::MlpPart::kGate));
    ranks.push_back(found == factors.end() ? 0 : found->second);
  }
  return ranks;
}

}  // namespace

StatusOr<MergeExpert> MergeExpertOf(const manifest::ExpertManifest& manifest,
                                    const std::filesystem::path& file) {
  ASSIGN_OR_RETURN(const std::string digest, manifest.Digest());
  return MergeExpert{.anchor_digest = manifest.anchor_digest,
                     .entry = {.contribution = manifest.contribution,
                               .contributor = manifest.contributor,
                               .blob = manifest.blob,
                               .manifest_digest = digest,
                               .widths = manifest.widths},
                     .rows = RowsInExpertFile{file, manifest.router_digest,
                                              manifest::RanksOf(manifest)}};
}

StatusOr<MergeExpert> MergeExpertOfJson(std::string_view manifest_json,
                                        const std::string& manifest_digest,
                                        const std::filesystem::path& file) {
  if (const std::string got = crypto::Sha256Hex(manifest_json);
      got != manifest_digest) {
    return InvalidArgument("expert manifest: got digest {}, wanted {}", got,
                           manifest_digest);
  }
  ASSIGN_OR_RETURN(const Json value, ParseJson(manifest_json));
  MergeExpert expert;
  RowsInExpertFile rows{.file = file, .router_digest = {}};
  std::string blob;
  const std::pair<const char*, std::string*> fields[] = {
      {"anchor_digest", &expert.anchor_digest},
      {"contribution", &expert.entry.contribution},
      {"contributor", &expert.entry.contributor},
      {"router_digest", &rows.router_digest},
      {"blob", &blob}};
  for (const auto& [name, target] : fields) {
    const Json* field = value.is_object() ? StringField(value, name) : nullptr;
    if (field == nullptr) {
      return InvalidArgument("expert manifest {}: has no text \"{}\"",
                             manifest_digest, name);
    }
    *target = field->get<std::string>();
  }
  const auto widths = value.find("widths");
  if (widths == value.end() || !widths->is_array()) {
    return InvalidArgument("expert manifest {}: has no list \"widths\"",
                           manifest_digest);
  }
  for (const Json& width : *widths) {
    if (!width.is_number_unsigned()) {
      return InvalidArgument("expert manifest {}: got the width {}",
                             manifest_digest, width.dump());
    }
    expert.entry.widths.push_back(width.get<int64_t>());
  }
  // Only manifests with factors are worth a look at their many tensors.
  if (manifest_json.find(kFactor) != std::string_view::npos) {
    ASSIGN_OR_RETURN(rows.ranks, RanksOf(value, expert.entry.widths.size()));
  }
  ASSIGN_OR_RETURN(expert.entry.blob, manifest::BlobName::Parse(blob));
  expert.entry.manifest_digest = manifest_digest;
  expert.rows = std::move(rows);
  return expert;
}

RowReader::RowReader(const MergeExpert& expert, int64_t num_layers,
                     int64_t hidden_size)
    : expert_(expert),
      num_layers_(num_layers),
      hidden_size_(hidden_size),
      layer_bytes_(static_cast<uint64_t>(hidden_size + 1) * sizeof(float)) {}

uint64_t RowReader::MatrixBytes(int64_t layer) const {
  const auto l = static_cast<size_t>(layer);
  const auto* source = std::get_if<RowsInExpertFile>(&expert_.rows);
  const int64_t rank =
      source != nullptr && l < source->ranks.size() ? source->ranks[l] : 0;
  return model_format::LayerBytes(hidden_size_, expert_.entry.widths[l], rank);
}

Status RowReader::ReadExpertFile(const RowsInExpertFile& source, int64_t layers,
                                 std::span<std::byte> out) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(source.file, O_RDONLY));
  if (position_ == 0) {
    struct stat info = {};
    if (fstat(file.get(), &info) != 0) {
      return ErrnoStatus(errno, "stat " + source.file.string());
    }
    uint64_t header = 0;  // files are little-endian, as is this machine
    RETURN_IF_ERROR(ReadAt(
        file, 0, std::as_writable_bytes(std::span(&header, 1)), source.file));
    uint64_t wanted = sizeof(header) + header;
    for (int64_t l = 0; l < num_layers_; ++l) {
      wanted += MatrixBytes(l) + layer_bytes_;
    }
    const auto size = static_cast<uint64_t>(info.st_size);
    if (header > kMaxHeaderBytes || size != wanted ||
        size != expert_.entry.blob.size) {
      return InvalidArgument(
          "{}: got {} bytes with a header of {}, wanted the {} bytes of {}; "
          "it is not the file that was admitted",
          source.file.string(), size, header, expert_.entry.blob.size,
          expert_.entry.blob.ToString());
    }
    position_ = sizeof(header) + header;
  }
  // Layers without matrices have their rows side by side: one read.
  size_t done = 0;
  while (layers > 0) {
    position_ += MatrixBytes(next_layer_);
    int64_t run = 1;
    while (run < layers && MatrixBytes(next_layer_ + run) == 0) {
      ++run;
    }
    const uint64_t bytes = static_cast<uint64_t>(run) * layer_bytes_;
    RETURN_IF_ERROR(
        ReadAt(file, position_, out.subspan(done, bytes), source.file));
    position_ += bytes;
    done += bytes;
    next_layer_ += run;
    layers -= run;
  }
  return absl::OkStatus();
}

Status RowReader::ReadRouter(const RowsInRouter& source, int64_t layers,
                             std::span<std::byte> out) const {
  const uint64_t row_bytes = layer_bytes_ - sizeof(float);
  for (int64_t i = 0; i < layers; ++i) {
    const std::pair<std::string, uint64_t> parts[] = {
        {model_format::RouterWeight(next_layer_ + i), row_bytes},
        {model_format::RouterBias(next_layer_ + i), sizeof(float)}};
    for (const auto& [name, bytes] : parts) {
      const safetensors::TensorInfo* tensor = source.router->Find(name);
      if (tensor == nullptr || tensor->dtype != safetensors::DType::kF32) {
        return InvalidArgument("{}: has no float32 tensor {}",
                               source.router->path().string(), name);
      }
      const auto all = source.router->Bytes(*tensor);
      const uint64_t from = static_cast<uint64_t>(source.index) * bytes;
      if (all.size() < from + bytes) {
        return InvalidArgument("{}: {} has {} bytes, wanted a row {} of {}",
                               source.router->path().string(), name, all.size(),
                               source.index, bytes);
      }
      std::memcpy(out.data(), all.data() + from, bytes);
      out = out.subspan(bytes);
    }
  }
  return absl::OkStatus();
}

Status RowReader::Read(int64_t layers, std::span<std::byte> out) {
  if (const auto* router = std::get_if<RowsInRouter>(&expert_.rows)) {
    RETURN_IF_ERROR(ReadRouter(*router, layers, out));
    next_layer_ += layers;
    return absl::OkStatus();
  }
  return ReadExpertFile(std::get<RowsInExpertFile>(expert_.rows), layers, out);
}

void RowReader::Hash(std::span<const std::byte> rows) {
  // The file of a router was checked as a whole.
  if (std::holds_alternative<RowsInExpertFile>(expert_.rows)) {
    digest_.Update(rows);
  }
}

Status RowReader::Finish() const {
  const auto* source = std::get_if<RowsInExpertFile>(&expert_.rows);
  if (source == nullptr || digest_.Hex() == source->router_digest) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      "{}: its router rows have digest {}, the manifest of contributions/{} "
      "names {}; it is not the file that was admitted",
      source->file.string(), digest_.Hex(), expert_.contribution(),
      source->router_digest);
}

}  // namespace tributary::coordinator
