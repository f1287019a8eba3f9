#include "contributor/commands/config_text.h"

#include "fmt/format.h"

namespace tributary::contributor {
namespace {

// A text-format string literal.
std::string Quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\{:03o}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

// "field: value", commented out unless it was chosen.
std::string Line(bool chosen, const std::string& indent,
                 const std::string& field, const std::string& value) {
  return fmt::format("{}{}{}: {}\n", indent, chosen ? "" : "# ", field, value);
}

std::string Paths(const std::string& field,
                  const std::vector<std::string>& paths,
                  const std::string& example) {
  std::string text;
  for (const std::string& path : paths) {
    text += Line(true, "  ", field, Quote(path));
  }
  return paths.empty() ? Line(false, "  ", field, Quote(example)) : text;
}

std::string Number(const std::string& indent, const std::string& field,
                   int64_t value, int64_t example) {
  return Line(value != 0, indent, field,
              std::to_string(value != 0 ? value : example));
}

}  // namespace

std::string MakeConfigText(const ConfigChoices& choices) {
  std::string text =
      "# Configuration of a Tributary contributor. Unknown fields are errors.\n"
      "# Lines that begin with # show defaults or examples.\n\n"
      "# Name of the contribution; default: the contributor's id. A name is\n"
      "# used once: a new attempt after a rejection or withdrawal needs "
      "another.\n";
  text += Line(
      !choices.contribution.empty(), "", "contribution",
      Quote(choices.contribution.empty() ? "my-text" : choices.contribution));
  text +=
      "\n# Every random choice of training derives from it.\n" +
      Line(choices.seed.has_value(), "", "seed",
           std::to_string(choices.seed.value_or(0))) +
      "\n# The private text. Only the sandboxed worker opens it.\n"
      "data {\n"
      "  # Files or folders: .txt, .jsonl. At least one.\n" +
      Paths("train", choices.train, "/path/to/text") +
      "  # None: split off the training documents.\n" +
      Paths("heldout", choices.heldout, "/path/to/heldout") +
      "  # Field of .jsonl lines that holds the text.\n" +
      Line(!choices.text_field.empty(), "  ", "text_field",
           Quote(choices.text_field.empty() ? "text" : choices.text_field)) +
      "  # Tokens of a window; default: the anchor's policy.\n" +
      Line(false, "  ", "window_tokens", "256") +
      "  # At most this many; 0 for all.\n" +
      Number("  ", "max_train_windows", choices.max_train_windows, 0) +
      Number("  ", "max_heldout_windows", choices.max_heldout_windows, 0) +
      Number("  ", "max_windows_per_document", choices.max_windows_per_document,
             0) +
      "  # Public text measured beside the own; none: the anchor's.\n" +
      Line(false, "  ", "public_heldout", Quote("/path/to/public")) + "}\n\n";
  text +=
      "# The expert to make.\n"
      "expert {\n"
      "  # Channels in each layer: a multiple of the anchor's block, at most\n"
      "  # its policy's maximum. Required.\n" +
      Number("  ", "width", choices.width, 256) +
      "  # TRAIN, or PRUNE_AND_DISTIL from an own full-width teacher.\n" +
      Line(true, "  ", "recipe",
           choices.prune_and_distil ? "PRUNE_AND_DISTIL" : "TRAIN") +
      "  # Experts live in layers from this one on; default: the policy's.\n" +
      Line(false, "  ", "first_layer", "0") +
      "  # Router rows: logistic or closed_form.\n" +
      Line(false, "  ", "router", Quote("logistic")) +
      "  # Distillation: share of the text's own cross-entropy, and the form\n"
      "  # of the teacher's loss (tail or renormalised).\n" +
      Line(false, "  ", "text_share", "0.5") +
      Line(false, "  ", "distillation_form", Quote("tail")) + "}\n\n";
  text +=
      "# Optimizer and schedule; what is not set takes the default shown.\n"
      "training {\n" +
      Line(false, "  ", "learning_rate", "0.001") +
      Number("  ", "epochs", choices.epochs, 2) +
      Line(false, "  ", "windows_per_step", "1") +
      Line(false, "  ", "warmup_steps", "4") +
      Line(false, "  ", "final_fraction", "0.1") +
      Line(false, "  ", "beta1", "0.9") + Line(false, "  ", "beta2", "0.95") +
      Line(false, "  ", "weight_decay", "0") +
      Line(false, "  ", "clip_norm", "1") + "  # Steps between checkpoints.\n" +
      Line(false, "  ", "checkpoint_steps", "16") + "}\n\n";
  text +=
      "# What may leave this site. Wins over whatever the coordinator asks.\n"
      "policy {\n"
      "  # PERSON: `egress approve` before anything is uploaded.\n"
      "  # AUTOMATIC: the pipeline approves what this policy allows.\n" +
      Line(true, "  ", "approval",
           choices.automatic_approval ? "AUTOMATIC" : "PERSON") +
      "  # Refuse smaller corpora.\n" +
      Line(false, "  ", "min_documents", "8") +
      Line(false, "  ", "min_tokens", "2048") +
      "  # Refuse to send more; 0 for no limit.\n" +
      Line(false, "  ", "max_upload_bytes", "0") +
      "  # Written into ledger and reports.\n" +
      Line(false, "  ", "version", Quote("1")) + "}\n\n";
  text +=
      "# How the worker runs.\n"
      "worker {\n"
      "  # Compute threads; 0 for all cores.\n" +
      Number("  ", "threads", choices.threads, 0) +
      "  # Address space and CPU time of a job; 0 for no limit.\n" +
      Line(false, "  ", "memory_limit_bytes", "0") +
      Line(false, "  ", "cpu_limit_s", "0") +
      "  # Workers that name the same file run one at a time.\n" +
      Line(!choices.compute_lock_file.empty(), "  ", "compute_lock_file",
           Quote(choices.compute_lock_file.empty()
                     ? "/tmp/tributary-compute.lock"
                     : choices.compute_lock_file)) +
      "}\n";
  return text;
}

}  // namespace tributary::contributor
