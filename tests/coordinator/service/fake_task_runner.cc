#include "common/safetensors/writer.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {
namespace {

// Any well-formed file will do: nothing here reads it.
Status WriteSmallFile(const std::filesystem::path& path) {
  const std::vector<std::byte> value(8);
  return safetensors::WriteFile(
      path, {{.spec = {"heldout", safetensors::DType::kI32, {1, 2}},
              .bytes = value}});
}

}  // namespace

StatusOr<job::Result> FakeTaskRunner::Run(
    job::Job job, const ProgressFunction& progress,
    const CancellationToken& cancellation) {
  job::Result result;
  for (const job::Task& task : job.tasks()) {
    job::TaskResult& out = *result.add_tasks();
    if (task.has_anchor_statistics()) {
      const std::filesystem::path folder = job.output_directory();
      RETURN_IF_ERROR(WriteSmallFile(folder / "tokens.safetensors"));
      RETURN_IF_ERROR(WriteSmallFile(folder / "statistics.safetensors"));
      out.mutable_anchor_statistics()->set_tokens_path(
          (folder / "tokens.safetensors").string());
      out.mutable_anchor_statistics()->set_statistics_path(
          (folder / "statistics.safetensors").string());
      progress(1, "statistics");
    } else if (task.has_validate_expert()) {
      ++script_.validations;
      if (script_.validate) {
        ASSIGN_OR_RETURN(
            *out.mutable_validate_expert(),
            script_.validate(task.validate_expert(), cancellation));
        continue;
      }
      job::Gate& gate = *out.mutable_validate_expert()->add_gates();
      gate.set_name("evaluation");
      gate.set_passed(true);
    } else if (task.has_evaluate_release()) {
      ++script_.evaluations;
      if (script_.before_evaluation) {
        RETURN_IF_ERROR(script_.before_evaluation(cancellation));
      }
      for (const auto& [label, loss] :
           {std::pair("anchor", 3.0),
            std::pair("release", script_.release_loss)}) {
        job::ModelLoss& item = *out.mutable_evaluate_release()->add_losses();
        item.set_label(label);
        item.set_log_loss(loss);
        item.set_tokens(100);
      }
    } else {
      return InvalidArgument("unexpected task");
    }
  }
  return result;
}

}  // namespace tributary::coordinator
