#include "coordinator/evaluation/compare_release.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "common/evaluation/text_windows.h"
#include "common/model/errors.h"
#include "common/model/load_release.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "common/tokenizer/tokenizer.h"
#include "coordinator/evaluation/compared_windows.h"
#include "coordinator/evaluation/ensemble.h"
#include "coordinator/evaluation/merged_models.h"
#include "coordinator/evaluation/train_copies.h"
#include "coordinator/routing/tune_router.h"
#include "coordinator/validation/anchor_statistics.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using model::CausalLm;

constexpr char kPublicText[] = "public";

class Comparison {
 public:
  explicit Comparison(const CompareOptions& options) : options_(options) {}

  StatusOr<Json> Run() {
    ASSIGN_OR_RETURN(
        release_, model::LoadModel(options_.release_directory, options_.load));
    if (release_.num_experts() < 2) {
      return FailedPrecondition(
          "{}: has no experts beside the anchor; there is nothing to compare",
          options_.release_directory.string());
    }
    RETURN_IF_ERROR(CutTexts());
    Report(0.02, "common layers");
    ASSIGN_OR_RETURN(
        const ComparedWindows windows,
        ComparedWindows::Create(release_, texts_, options_.load.cancellation));
    windows_ = &windows;
    RETURN_IF_ERROR(MeasureParts());
    RETURN_IF_ERROR(MeasureAverages());
    AddEnsemble();
    if (!options_.public_tokens_path.empty() && options_.router_epochs > 0) {
      RETURN_IF_ERROR(MeasureFreshRouter());
    }
    if (!options_.public_tokens_path.empty() && options_.upcycling_steps > 0) {
      RETURN_IF_ERROR(MeasureUpcycled());
    }
    return ToJson();
  }

 private:
  using Losses = ComparedWindows::Losses;

  void Report(double fraction, const std::string& message) const {
    if (options_.on_progress) {
      options_.on_progress(fraction, message);
    }
  }

  Status CutTexts() {
    ASSIGN_OR_RETURN(
        const auto tokenizer,
        tokenizer::Tokenizer::Load(
            model::ModelFilesDirectory(options_.release_directory) /
            "tokenizer.json"));
    std::set<std::string> names = {kPublicText};
    const std::set<std::string> contributions(release_.expert_names.begin(),
                                              release_.expert_names.end());
    for (const ComparedText& text : options_.texts) {
      if (!names.insert(text.name).second) {
        return InvalidArgument(
            "text \"{}\": wanted every name once, and not "
            "\"public\"",
            text.name);
      }
      if (!text.contribution.empty() &&
          !contributions.contains(text.contribution)) {
        return InvalidArgument(
            "text \"{}\": the release has no contribution {}", text.name,
            text.contribution);
      }
      ASSIGN_OR_RETURN(evaluation::Windows windows,
                       evaluation::CutTextWindows(
                           *tokenizer, text.paths,
                           {.window_tokens = options_.window_tokens,
                            .max_windows = options_.max_windows,
                            .rest = evaluation::WindowOptions::Rest::kKeep}));
      if (windows.empty()) {
        return InvalidArgument("{}: has no document of 2 tokens or more",
                               text.name);
      }
      texts_.push_back({text.name, std::move(windows)});
      owners_.push_back(text.contribution);
    }
    return options_.public_tokens_path.empty() ? absl::OkStatus()
                                               : AddPublicText();
  }

  Status AddPublicText() {
    ASSIGN_OR_RETURN(tokens_,
                     safetensors::File::Open(
                         options_.public_tokens_path,
                         {.limits = safetensors::HeaderLimits::ForModel()}));
    ASSIGN_OR_RETURN(const at::Tensor ids,
                     model::ReadTokenIds(*tokens_, kHeldoutClass,
                                         release_.config.vocab_size));
    evaluation::Windows windows;
    for (int64_t w = 0; w < std::min(ids.size(0), options_.max_windows); ++w) {
      auto& window = windows.emplace_back();
      for (int64_t s = 0; s < ids.size(1); ++s) {
        window.push_back(static_cast<int32_t>(ids[w][s].item<int64_t>()));
      }
    }
    texts_.push_back({kPublicText, std::move(windows)});
    owners_.emplace_back();
    return absl::OkStatus();
  }

  // One model of the table: its losses, and what it costs.
  struct Entry {
    std::string id;
    std::string label;
    std::string contribution;  // of a 2-expert model
    ParameterCount parameters;
    Losses losses;
    Json facts = Json::object();
  };

  Status Measure(std::string id, std::string label, const CausalLm& lm,
                 double progress) {
    Report(progress, label);
    Entry entry{.id = std::move(id),
                .label = std::move(label),
                .parameters = CountParameters(lm)};
    ASSIGN_OR_RETURN(entry.losses,
                     windows_->Measure(lm, options_.load.cancellation));
    entries_.push_back(std::move(entry));
    return absl::OkStatus();
  }

  // Anchor, every 2-expert model, the release.
  Status MeasureParts() {
    RETURN_IF_ERROR(Measure("anchor", "anchor", ReduceTo(release_, {}), 0.1));
    for (int64_t e = 1; e < release_.num_experts(); ++e) {
      const std::string name =
          release_.expert_names[static_cast<size_t>(e - 1)];
      const double done =
          static_cast<double>(e) / static_cast<double>(release_.num_experts());
      RETURN_IF_ERROR(Measure("own:" + name, "anchor and " + name,
                              ReduceTo(release_, {e}), 0.1 + 0.2 * done));
      entries_.back().contribution = name;
    }
    return Measure("release", "the release", release_, 0.3);
  }

  Status MeasureAverages() {
    const bool equal = HasEqualWidths(release_);
    const Json facts = {{"equal_widths", equal}};
    RETURN_IF_ERROR(Measure(
        "average",
        equal ? "parameter average" : "parameter average, gaps the anchor's",
        AverageExperts(release_, Gap::kAnchor), 0.35));
    entries_.back().facts = facts;
    if (!equal) {
      RETURN_IF_ERROR(Measure("average-zero", "parameter average, gaps zero",
                              AverageExperts(release_, Gap::kZero), 0.4));
      entries_.back().facts = facts;
    }
    return absl::OkStatus();
  }

  // Needs no pass of its own: the tokens' likelihoods under each part do.
  void AddEnsemble() {
    Entry entry{.id = "ensemble", .label = "ensemble of outputs"};
    std::vector<const Losses*> parts;
    for (const Entry& part : entries_) {
      if (part.id == "anchor" || !part.contribution.empty()) {
        parts.push_back(&part.losses);
        entry.parameters.active += part.parameters.active;
      } else if (part.id == "release") {
        entry.parameters.total = part.parameters.total;
      }
    }
    for (size_t t = 0; t < texts_.size(); ++t) {
      auto& text = entry.losses.emplace_back();
      for (size_t w = 0; w < texts_[t].windows.size(); ++w) {
        std::vector<std::vector<double>> models;
        for (const Losses* part : parts) {
          models.push_back((*part)[t][w]);
        }
        text.push_back(EnsembleLosses(models));
      }
    }
    entry.facts["models"] = parts.size();
    entries_.push_back(std::move(entry));
  }

  // Branch-Train-MiX: the same experts, a router from nothing.
  Status MeasureFreshRouter() {
    Report(0.45, "training a fresh router");
    const fs::path router = options_.scratch_directory / "fresh.safetensors";
    std::vector<fs::path> scratch = {router};
    TuneOptions tune;
    tune.model.directory =
        options_.release_directory / model::kReleaseAnchorFolder;
    tune.model.top_k = release_.top_k;
    tune.public_tokens_path = options_.public_tokens_path;
    tune.learning_rate = options_.router_learning_rate;
    tune.epochs = options_.router_epochs;
    tune.top_k = release_.top_k;
    tune.seed = options_.seed;
    tune.output_path = router;
    tune.load = options_.load;
    tune.on_progress = [&](double fraction, const std::string& message) {
      Report(0.45 + 0.2 * fraction, "fresh router, " + message);
    };
    const std::vector<at::Tensor> rows = RandomRows(release_, options_.seed);
    for (int64_t e = 1; e < release_.num_experts(); ++e) {
      const std::string& name =
          release_.expert_names[static_cast<size_t>(e - 1)];
      tune.model.expert_paths.push_back(options_.release_directory /
                                        model::kReleaseExpertFolder /
                                        (name + ".safetensors"));
      scratch.push_back(options_.scratch_directory /
                        fmt::format("fresh-{}.safetensors", e));
      tune.model.router_paths.push_back(scratch.back());
      RETURN_IF_ERROR(WriteRow(rows, e, scratch.back()));
    }
    ASSIGN_OR_RETURN(const TuneResult tuned, TuneRouter(tune));
    CausalLm mix = release_;
    RETURN_IF_ERROR(TakeRows(router, mix));
    for (const fs::path& file : scratch) {
      std::error_code error;
      fs::remove(file, error);
    }
    RETURN_IF_ERROR(
        Measure("fresh-router", "fresh router, trained", mix, 0.65));
    entries_.back().facts = {{"steps", tuned.steps},
                             {"first_loss", tuned.first_loss},
                             {"last_loss", tuned.last_loss}};
    return absl::OkStatus();
  }

  Status WriteRow(const std::vector<at::Tensor>& rows, int64_t expert,
                  const fs::path& path) const {
    model::NamedTensors tensors;
    for (int64_t l = 0; l < release_.num_layers(); ++l) {
      const at::Tensor& layer = rows[static_cast<size_t>(l)];
      tensors.emplace_back(
          model_format::RouterWeight(l),
          layer.defined() ? layer.select(0, expert).to(at::kCPU).contiguous()
                          : at::zeros({release_.config.hidden_size}));
      tensors.emplace_back(model_format::RouterBias(l), at::zeros({}));
    }
    return model::WriteTensors(path, tensors);
  }

  static Status TakeRows(const fs::path& router, CausalLm& lm) {
    ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(router));
    for (int64_t l = 0; l < lm.num_layers(); ++l) {
      model::DecoderLayer& layer = lm.layers[static_cast<size_t>(l)];
      if (layer.routes()) {
        ASSIGN_OR_RETURN(const at::Tensor rows,
                         model::ReadTensor(*file, model_format::RouterWeight(l),
                                           at::kFloat));
        layer.router_ED = rows.to(lm.device());
        layer.router_bias_E = at::Tensor();
      }
    }
    return absl::OkStatus();
  }

  Status MeasureUpcycled() {
    Report(0.7, "training upcycled copies");
    CausalLm upcycled = Upcycle(release_, options_.seed);
    ASSIGN_OR_RETURN(const PublicWindows windows,
                     ReadPublicWindows(*tokens_, upcycled));
    ASSIGN_OR_RETURN(
        const CopyTrainingResult trained,
        TrainCopies(
            upcycled, windows,
            {.steps = options_.upcycling_steps,
             .learning_rate = options_.upcycling_learning_rate,
             .router_learning_rate = options_.router_learning_rate,
             .seed = options_.seed,
             .cancellation = options_.load.cancellation,
             .on_progress = [&](double fraction, const std::string& message) {
               Report(0.7 + 0.25 * fraction, message);
             }}));
    RETURN_IF_ERROR(Measure("upcycled", "sparse upcycling", upcycled, 0.95));
    entries_.back().facts = {{"steps", trained.steps},
                             {"first_loss", trained.first_loss},
                             {"last_loss", trained.last_loss}};
    return absl::OkStatus();
  }

  // Mean over all tokens of a text.
  static double Mean(const std::vector<std::vector<double>>& windows) {
    double sum = 0;
    size_t tokens = 0;
    for (const auto& window : windows) {
      for (const double loss : window) {
        sum += loss;
      }
      tokens += window.size();
    }
    return sum / static_cast<double>(tokens);
  }

  // Gain over the anchor as a share of the owner's own model's; null on texts
  // of nobody and where the own model gains nothing.
  Json GainKept(size_t text, double loss) const {
    const double anchor = Mean(entries_[0].losses[text]);
    for (const Entry& entry : entries_) {
      if (!owners_[text].empty() && entry.contribution == owners_[text]) {
        const double own = anchor - Mean(entry.losses[text]);
        return own > 0 ? Json((anchor - loss) / own) : Json(nullptr);
      }
    }
    return nullptr;
  }

  Json ToJson() const {
    Json texts = Json::array();
    for (size_t t = 0; t < texts_.size(); ++t) {
      size_t tokens = 0;
      for (const auto& window : texts_[t].windows) {
        tokens += window.size() - 1;
      }
      texts.push_back({{"name", texts_[t].name},
                       {"contribution", owners_[t]},
                       {"windows", texts_[t].windows.size()},
                       {"predicted_tokens", tokens}});
    }
    Json models = Json::array();
    for (const Entry& entry : entries_) {
      Json losses = Json::array();
      for (size_t t = 0; t < texts_.size(); ++t) {
        const double loss = Mean(entry.losses[t]);
        losses.push_back({{"log_loss", loss},
                          {"change", loss - Mean(entries_[0].losses[t])},
                          {"gain_kept", GainKept(t, loss)}});
      }
      models.push_back({{"id", entry.id},
                        {"label", entry.label},
                        {"contribution", entry.contribution},
                        {"parameters",
                         {{"total", entry.parameters.total},
                          {"active", entry.parameters.active}}},
                        {"facts", entry.facts},
                        {"losses", std::move(losses)}});
    }
    return {{"window_tokens", options_.window_tokens},
            {"top_k", release_.top_k},
            {"seed", options_.seed},
            {"texts", std::move(texts)},
            {"models", std::move(models)}};
  }

  const CompareOptions& options_;
  CausalLm release_;
  std::vector<DomainWindows> texts_;
  std::vector<std::string> owners_;  // of each text; empty: nobody
  std::shared_ptr<const safetensors::File> tokens_;
  const ComparedWindows* windows_ = nullptr;
  std::vector<Entry> entries_;  // the anchor first
};

}  // namespace

StatusOr<Json> CompareRelease(const CompareOptions& options) {
  return model::CatchTorch([&] { return Comparison(options).Run(); });
}

}  // namespace tributary::coordinator
