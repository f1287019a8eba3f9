#include "contributor/training/checkpoint.h"

#include <charconv>

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr char kLosses[] = "losses";

Status WriteCheckpoint(const std::filesystem::path& path,
                       const Checkpoint& checkpoint) {
  NamedTensors tensors = checkpoint.tensors;
  tensors.emplace_back(
      kLosses, at::from_blob(const_cast<double*>(checkpoint.losses.data()),
                             {static_cast<int64_t>(checkpoint.losses.size())},
                             at::TensorOptions(at::kDouble)));
  return WriteTensors(path, tensors,
                      {{"step", std::to_string(checkpoint.step)},
                       {"fingerprint", checkpoint.fingerprint}});
}

}  // namespace

StatusOr<std::optional<Checkpoint>> ReadCheckpoint(
    const std::filesystem::path& path, const std::string& fingerprint) {
  auto file = OpenTensorFile(path);
  if (absl::IsNotFound(file.status())) {
    return std::nullopt;
  }
  RETURN_IF_ERROR(file.status());
  const auto& metadata = (*file)->metadata();
  const auto found = metadata.find("fingerprint");
  if (found == metadata.end() || found->second != fingerprint) {
    return FailedPrecondition(
        "{}: this checkpoint belongs to a run with other settings or data; "
        "restore them to go on, or delete the file to start afresh",
        path.string());
  }
  Checkpoint checkpoint{.fingerprint = fingerprint};
  const auto step = metadata.find("step");
  if (step != metadata.end()) {
    std::from_chars(step->second.data(),
                    step->second.data() + step->second.size(), checkpoint.step);
  }
  for (const auto& info : (*file)->tensors()) {
    ASSIGN_OR_RETURN(const Tensor tensor, MapTensor(*file, info.name));
    if (info.name == kLosses) {
      const Tensor losses = tensor.to(at::kDouble).contiguous();
      checkpoint.losses.assign(
          losses.const_data_ptr<double>(),
          losses.const_data_ptr<double>() + losses.numel());
    } else {
      checkpoint.tensors.emplace_back(info.name, tensor);
    }
  }
  if (checkpoint.step < 1 ||
      checkpoint.step != static_cast<int64_t>(checkpoint.losses.size())) {
    return InvalidArgument(
        "{}: step {} and {} losses do not belong together; delete the file to "
        "start afresh",
        path.string(), checkpoint.step, checkpoint.losses.size());
  }
  return checkpoint;
}

CheckpointWriter::~CheckpointWriter() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

Status CheckpointWriter::Wait() {
  if (thread_.joinable()) {
    thread_.join();
    if (status_.ok()) {
      saved_step_ = copy_.step;
    }
  }
  return status_;
}

Status CheckpointWriter::Save(const Checkpoint& checkpoint) {
  RETURN_IF_ERROR(Wait());
  const at::NoGradGuard no_grad;
  copy_.step = checkpoint.step;
  copy_.losses = checkpoint.losses;
  copy_.fingerprint = checkpoint.fingerprint;
  copy_.tensors.resize(checkpoint.tensors.size());
  for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
    const auto& [name, tensor] = checkpoint.tensors[i];
    copy_.tensors[i].first = name;
    Tensor& copy = copy_.tensors[i].second;
    if (copy.defined()) {
      copy.copy_(tensor.detach());
    } else {
      copy = tensor.detach().to(at::kCPU, /*non_blocking=*/false,
                                /*copy=*/true);
    }
  }
  thread_ = std::thread([this] {
    try {
      status_ = WriteCheckpoint(path_, copy_);
    } catch (const std::exception& error) {
      status_ = Internal("{}: {}", path_.string(), error.what());
    }
  });
  return absl::OkStatus();
}

}  // namespace tributary::contributor
