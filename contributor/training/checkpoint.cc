#include "contributor/training/checkpoint.h"

#include <charconv>

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr char kLosses[] = "losses";
constexpr char kValidations[] = "validations";  // [n, 2]: step, log-loss
constexpr int64_t kExactSteps = int64_t{1} << 53;

std::span<const std::byte> BytesOf(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()),
          tensor.nbytes()};
}

safetensors::Shape ShapeOf(const Tensor& tensor) {
  return safetensors::Shape(
      std::span<const int64_t>(tensor.sizes().data(), tensor.sizes().size()));
}

Tensor AsTensor(const TrainingHistory& history) {
  Tensor table = at::empty(
      {static_cast<int64_t>(history.validations.size()), 2}, at::kDouble);
  double* to = table.mutable_data_ptr<double>();
  for (const Validation& validation : history.validations) {
    *to++ = static_cast<double>(validation.step);
    *to++ = validation.log_loss;
  }
  return table;
}

Status ReadHistory(const std::filesystem::path& path, const Tensor& losses,
                   const Tensor& validations, TrainingHistory* history) {
  if (!losses.defined() || losses.dim() != 1 || !validations.defined() ||
      validations.dim() != 2 || validations.size(1) != 2) {
    return InvalidArgument(
        "{}: has no losses or measurements; delete the file to start afresh",
        path.string());
  }
  const Tensor values = losses.to(at::kDouble).contiguous();
  history->losses.assign(values.const_data_ptr<double>(),
                         values.const_data_ptr<double>() + values.numel());
  const Tensor table = validations.to(at::kDouble).contiguous();
  const double* from = table.const_data_ptr<double>();
  for (int64_t i = 0; i < table.size(0); ++i, from += 2) {
    if (!(from[0] >= 0 && from[0] <= static_cast<double>(kExactSteps))) {
      return InvalidArgument("{}: measurement {} has step {}", path.string(), i,
                             from[0]);
    }
    history->validations.push_back(
        {.step = static_cast<int64_t>(from[0]), .log_loss = from[1]});
  }
  return absl::OkStatus();
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
  int64_t step = 0;
  if (const auto text = metadata.find("step"); text != metadata.end()) {
    std::from_chars(text->second.data(),
                    text->second.data() + text->second.size(), step);
  }
  Tensor losses, validations;
  for (const auto& info : (*file)->tensors()) {
    ASSIGN_OR_RETURN(const Tensor tensor, MapTensor(*file, info.name));
    if (info.name == kLosses) {
      losses = tensor;
    } else if (info.name == kValidations) {
      validations = tensor;
    } else {
      checkpoint.tensors.emplace_back(info.name, tensor);
    }
  }
  RETURN_IF_ERROR(ReadHistory(path, losses, validations, &checkpoint.history));
  if (step < 1 || step != checkpoint.step()) {
    return InvalidArgument(
        "{}: step {} and {} losses do not belong together; delete the file to "
        "start afresh",
        path.string(), step, checkpoint.step());
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
    file_.reset();
    if (status_.ok()) {
      saved_step_ = step_;
    }
  }
  return status_;
}

Status CheckpointWriter::Save(const Checkpoint& checkpoint) {
  RETURN_IF_ERROR(Wait());
  const at::NoGradGuard no_grad;
  const Tensor losses =
      at::from_blob(const_cast<double*>(checkpoint.history.losses.data()),
                    {checkpoint.step()}, at::TensorOptions(at::kDouble));
  const Tensor validations = AsTensor(checkpoint.history);
  std::vector<safetensors::TensorSpec> specs;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (tensor.scalar_type() != at::kFloat) {
      return Internal("{}: tensor {} is not fp32", path_.string(), name);
    }
    specs.push_back({name, safetensors::DType::kF32, ShapeOf(tensor)});
  }
  specs.push_back({kLosses, safetensors::DType::kF64, ShapeOf(losses)});
  specs.push_back(
      {kValidations, safetensors::DType::kF64, ShapeOf(validations)});
  step_ = checkpoint.step();
  ASSIGN_OR_RETURN(
      file_, safetensors::Writer::Create(
                 path_, std::move(specs),
                 {.metadata = {{"step", std::to_string(step_)},
                               {"fingerprint", checkpoint.fingerprint}}}));
  for (const auto& [name, tensor] : checkpoint.tensors) {
    // No copy on the CPU, one tensor's on a GPU.
    const Tensor data = tensor.detach().cpu().contiguous();
    RETURN_IF_ERROR(file_->Append(BytesOf(data)));
  }
  RETURN_IF_ERROR(file_->Append(BytesOf(losses)));
  RETURN_IF_ERROR(file_->Append(BytesOf(validations)));
  thread_ = std::thread([this] { status_ = file_->Finish(); });
  return absl::OkStatus();
}

}  // namespace tributary::contributor
