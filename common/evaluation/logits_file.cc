#include "common/evaluation/logits_file.h"

#include "common/model/errors.h"
#include "common/safetensors/writer.h"

namespace tributary::evaluation {

Status WriteLogits(const model::CausalLm& lm, const at::Tensor& ids_BS,
                   const std::filesystem::path& output,
                   const LogitsOptions& options) {
  return model::CatchTorch([&]() -> Status {
    at::NoGradGuard no_gradients;
    const int64_t rows = ids_BS.size(0);
    ASSIGN_OR_RETURN(
        const auto writer,
        safetensors::Writer::Create(
            output, {{.name = "logits",
                      .dtype = safetensors::DType::kF32,
                      .shape = {rows, ids_BS.size(1), lm.config.vocab_size}}}));
    for (int64_t row = 0; row < rows; ++row) {
      if (options.cancellation != nullptr) {
        RETURN_IF_ERROR(options.cancellation->Check());
      }
      const at::Tensor logits =
          model::Logits(lm, model::HiddenStates(lm, ids_BS.narrow(0, row, 1)))
              .to(at::TensorOptions(at::kCPU).dtype(at::kFloat))
              .contiguous();
      RETURN_IF_ERROR(writer->Append(
          {static_cast<const std::byte*>(logits.const_data_ptr()),
           logits.nbytes()}));
      if (options.on_progress) {
        options.on_progress(static_cast<double>(row + 1) /
                            static_cast<double>(rows));
      }
    }
    return writer->Finish();
  });
}

}  // namespace tributary::evaluation
