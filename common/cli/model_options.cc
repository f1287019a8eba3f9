#include "common/cli/model_options.h"

#include "common/cli/worker_call.h"

namespace tributary::cli {

CLI::Option* DeclareModelOptions(CLI::App* command, ModelOptions& options) {
  CLI::Option* model =
      command
          ->add_option("--model", options.model,
                       "Hugging Face directory or native release directory")
          ->required();
  command->add_option("--expert", options.experts,
                      "Expert file beside the anchor (repeatable)");
  command->add_option("--top-k", options.top_k, "Experts per token");
  command->add_option("--threads", options.threads,
                      "Compute threads (default: all cores)");
  command->add_option("--device", options.device, "cpu, cuda or cuda:N")
      ->capture_default_str();
  command
      ->add_option("--precision", options.precision,
                   "fp32; bf16: weights kept in bf16, half the memory; "
                   "bf16-products: products in bf16 too, faster and less exact")
      ->check(CLI::IsMember({"fp32", "bf16", "bf16-products"}))
      ->capture_default_str();
  return model;
}

Status FillModelSource(const ModelOptions& options, job::ModelSource* source,
                       std::vector<std::filesystem::path>* read_paths) {
  ASSIGN_OR_RETURN(const auto model, ExistingPath(options.model, "--model"));
  source->set_directory(model.string());
  read_paths->push_back(model);
  for (const std::string& expert : options.experts) {
    ASSIGN_OR_RETURN(const auto path, ExistingPath(expert, "--expert"));
    source->add_expert_paths(path.string());
    read_paths->push_back(path);
  }
  source->set_top_k(options.top_k);
  source->set_precision(options.precision);
  return absl::OkStatus();
}

}  // namespace tributary::cli
