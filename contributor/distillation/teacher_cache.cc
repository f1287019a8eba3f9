#include "contributor/distillation/teacher_cache.h"

#include <algorithm>
#include <numeric>

#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr int64_t kChunkTokens = 256;
constexpr int64_t kLowIds = 1 << 16;

// The most likely tokens of a chunk of logits [T, V].
struct TopTokens {
  Tensor ids;                // int64 [T, J]
  Tensor log_probabilities;  // fp32 [T, J]
  Tensor log_tail;           // fp32 [T]
  Tensor logsumexp;          // fp32 [T]
};

TopTokens Choose(Tensor& logits, int64_t kept) {
  const Tensor lse = at::logsumexp(logits, {1}, /*keepdim=*/true);
  auto [values, ids] = at::topk(logits, kept, 1);
  Tensor log_tail;
  if (kept < logits.size(1)) {
    logits.scatter_(1, ids, -std::numeric_limits<double>::infinity());
    log_tail = (at::logsumexp(logits, {1}, /*keepdim=*/true) - lse).squeeze(1);
  } else {
    log_tail =
        at::full({logits.size(0)}, -std::numeric_limits<double>::infinity(),
                 logits.options());
  }
  return {ids, values - lse, log_tail, lse.squeeze(1)};
}

Status WriteCache(const model::CausalLm& teacher, const TrunkWindows& data,
                  const std::filesystem::path& path,
                  const std::string& fingerprint,
                  const std::function<Status(double)>& report) {
  const at::NoGradGuard no_grad;
  const int64_t vocabulary = teacher.head_VD.size(0);
  const int64_t kept = std::min(kTeacherTokens, vocabulary);
  const int64_t positions = data.length() - 1;
  const int64_t total = data.windows() * positions;
  Tensor low = at::empty({total, kept}, at::kShort);
  Tensor high =
      vocabulary > kLowIds ? at::empty({total, kept}, at::kByte) : Tensor();
  Tensor log_probabilities = at::empty({total, kept}, at::kHalf);
  Tensor log_tail = at::empty({total}, at::kFloat);
  Tensor logsumexp = at::empty({total}, at::kFloat);
  Tensor buffer = at::empty({std::min(kChunkTokens, positions), vocabulary},
                            teacher.final_norm_D.options().dtype(at::kFloat));
  const Tensor head = teacher.head_VD.to(at::kFloat);
  for (int64_t w = 0; w < data.windows(); ++w) {
    WindowBatch batch = TakeBatch(data, {w}, teacher.device());
    batch.positions_T = Tensor();  // the ends of documents too

    const Tensor hidden =
        HiddenOfBatch(teacher, data.first_layer, batch).to(at::kFloat);
    for (int64_t begin = 0; begin < positions; begin += kChunkTokens) {
      const int64_t count = std::min(kChunkTokens, positions - begin);
      Tensor logits = buffer.narrow(0, 0, count);
      at::mm_out(logits, hidden.narrow(0, begin, count), head.t());
      const TopTokens top = Choose(logits, kept);
      const int64_t row = w * positions + begin;
      // Values of 32,768 and above become negative: the same 16 bits.
      low.narrow(0, row, count)
          .copy_(top.ids.remainder(kLowIds)
                     .add_(kLowIds / 2)
                     .remainder_(kLowIds)
                     .sub_(kLowIds / 2));
      if (high.defined()) {
        high.narrow(0, row, count).copy_(at::div(top.ids, kLowIds, "floor"));
      }
      log_probabilities.narrow(0, row, count).copy_(top.log_probabilities);
      log_tail.narrow(0, row, count).copy_(top.log_tail);
      logsumexp.narrow(0, row, count).copy_(top.logsumexp);
    }
    RETURN_IF_ERROR(report(static_cast<double>(w + 1) / data.windows()));
  }
  const std::vector<int64_t> shape = {data.windows(), positions, kept};
  NamedTensors tensors = {{"ids_low", low.view(shape)}};
  if (high.defined()) {
    tensors.emplace_back("ids_high", high.view(shape));
  }
  tensors.emplace_back("log_probabilities", log_probabilities.view(shape));
  tensors.emplace_back("log_tail", log_tail.view({data.windows(), positions}));
  tensors.emplace_back("logsumexp",
                       logsumexp.view({data.windows(), positions}));
  return WriteTensors(path, tensors, {{"fingerprint", fingerprint}});
}

}  // namespace

bool TeacherCache::IsOf(const std::filesystem::path& path,
                        const std::string& fingerprint) {
  const auto file = OpenTensorFile(path);
  if (!file.ok()) {
    return false;
  }
  const auto found = (*file)->metadata().find("fingerprint");
  return found != (*file)->metadata().end() && found->second == fingerprint;
}

Status TeacherCache::Load(const std::filesystem::path& path,
                          const TrunkWindows& data, int64_t vocab_size) {
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(path));
  ASSIGN_OR_RETURN(ids_low_, MapTensor(file, "ids_low"));
  if (vocab_size > kLowIds) {
    ASSIGN_OR_RETURN(ids_high_, MapTensor(file, "ids_high"));
  }
  ASSIGN_OR_RETURN(log_probabilities_, MapTensor(file, "log_probabilities"));
  ASSIGN_OR_RETURN(log_tail_, MapTensor(file, "log_tail"));
  if (ids_low_.dim() != 3 || ids_low_.size(0) != data.windows() ||
      ids_low_.size(1) != data.length() - 1 ||
      log_probabilities_.sizes() != ids_low_.sizes()) {
    return InvalidArgument(
        "{}: does not belong to these windows; delete the file", path.string());
  }
  return absl::OkStatus();
}

StatusOr<TeacherCache> TeacherCache::Make(
    const model::CausalLm& teacher, const TrunkWindows& data,
    const std::filesystem::path& path, const std::string& fingerprint,
    const std::function<Status(double)>& report) {
  TeacherCache cache;
  cache.device_ = teacher.device();
  cache.reused_ = IsOf(path, fingerprint);
  if (!cache.reused_) {
    RETURN_IF_ERROR(WriteCache(teacher, data, path, fingerprint, report));
  }
  RETURN_IF_ERROR(cache.Load(path, data, teacher.head_VD.size(0)));
  return cache;
}

TeacherTargets TeacherCache::Take(const std::vector<int64_t>& windows) const {
  const Tensor rows = at::tensor(windows, at::TensorOptions().dtype(at::kLong));
  const auto take = [&](const Tensor& from, at::ScalarType type) {
    return from.index_select(0, rows).flatten(0, 1).to(device_, type);
  };
  Tensor ids = take(ids_low_, at::kLong).remainder_(kLowIds);
  if (ids_high_.defined()) {
    ids.add_(take(ids_high_, at::kLong), kLowIds);
  }
  const Tensor log_tail = take(log_tail_, at::kFloat);
  // Probabilities lost their last bits on disk: what is not in the tail sums
  // to one again.
  const Tensor rounded = take(log_probabilities_, at::kFloat);
  const Tensor log_q =
      at::log_softmax(rounded, -1) + at::log1p(-log_tail.exp()).unsqueeze(1);
  return {.ids_TJ = ids, .log_q_TJ = log_q, .log_tail_T = log_tail};
}

}  // namespace tributary::contributor
