#include "contributor/commands/training_flags.h"

namespace tributary::contributor {

void DeclareTrainingFlags(CLI::App* command, TrainingFlags& flags) {
  command->add_option("--learning-rate", flags.learning_rate,
                      "Highest learning rate (default 0.001)");
  command->add_option("--epochs", flags.epochs,
                      "Passes over the text (default 2)");
  command
      ->add_option("--weight-decay", flags.weight_decay,
                   "AdamW's weight decay of the expert")
      ->capture_default_str();
  command->add_option("--clip-norm", flags.clip_norm,
                      "Gradients are clipped to this norm; 0: never "
                      "(default 1)");
  command
      ->add_option("--schedule", flags.schedule,
                   "Learning rate behind the warm-up")
      ->check(CLI::IsMember({"cosine", "constant", "linear"}))
      ->capture_default_str();
  command->add_option("--warmup-steps", flags.warmup_steps,
                      "Steps of linear warm-up (default 4)");
  command
      ->add_option("--final-fraction", flags.final_fraction,
                   "Where cosine and linear end, as a fraction of the highest "
                   "rate (default 0.1)")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--windows-per-step", flags.windows_per_step,
                      "Windows of an optimizer step (default 1)");
  command->add_option("--micro-batch-windows", flags.micro_batch_windows,
                      "Windows computed at a time; gradients add up (default: "
                      "all of a step)");
  command->add_option("--checkpoint-steps", flags.checkpoint_steps,
                      "Steps between checkpoints (default 16)");
  command->add_option("--validation-steps", flags.validation_steps,
                      "Steps between measurements of the held-out text "
                      "(default: at the end)");
  command->add_option("--patience", flags.patience,
                      "Stop behind this many measurements without a new best "
                      "one and keep the best one's weights (default: never)");
  command
      ->add_option("--min-improvement", flags.min_improvement,
                   "What a new best measurement must gain, nats")
      ->capture_default_str();
  command->add_flag("--recompute-activations", flags.recompute_activations,
                    "Less memory, a third more time, the same result");
  command
      ->add_option("--nested-widths", flags.nested_widths,
                   "Train prefixes of these widths in turn, drawn at "
                   "random, so that the expert can be cut to each of them")
      ->delimiter(',');
  command
      ->add_option("--frozen-storage", flags.frozen_storage,
                   "How the anchor's weights are kept in memory")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  command
      ->add_option("--memory-limit", flags.memory_limit_bytes,
                   "Refuse a run that needs more bytes than this")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false));
}

job::Optimizer OptimizerOf(const TrainingFlags& flags) {
  job::Optimizer optimizer;
  optimizer.set_learning_rate(flags.learning_rate);
  optimizer.set_epochs(flags.epochs);
  optimizer.set_weight_decay(flags.weight_decay);
  if (flags.clip_norm) {
    optimizer.set_clip_norm(*flags.clip_norm);
  }
  optimizer.set_schedule(flags.schedule == "constant" ? job::Optimizer::CONSTANT
                         : flags.schedule == "linear" ? job::Optimizer::LINEAR
                                                      : job::Optimizer::COSINE);
  if (flags.warmup_steps) {
    optimizer.set_warmup_steps(*flags.warmup_steps);
  }
  if (flags.final_fraction) {
    optimizer.set_final_fraction(*flags.final_fraction);
  }
  optimizer.set_windows_per_step(flags.windows_per_step);
  optimizer.set_micro_batch_windows(flags.micro_batch_windows);
  optimizer.set_checkpoint_steps(flags.checkpoint_steps);
  optimizer.set_validation_steps(flags.validation_steps);
  optimizer.set_patience(flags.patience);
  optimizer.set_min_improvement(flags.min_improvement);
  optimizer.set_recompute_activations(flags.recompute_activations);
  optimizer.mutable_nested_widths()->Add(flags.nested_widths.begin(),
                                         flags.nested_widths.end());
  optimizer.set_frozen_storage(flags.frozen_storage == "bfloat16"
                                   ? job::Optimizer::BFLOAT16
                                   : job::Optimizer::FLOAT32);
  return optimizer;
}

void DeclareRowFlags(CLI::App* command, RowFlags& flags) {
  command
      ->add_option("--rows", flags.rows,
                   "Router rows: fixed, or trained with the expert from the "
                   "mean of the text's own activations")
      ->check(CLI::IsMember({"fixed", "trained"}))
      ->capture_default_str();
  command->add_flag("--row-bias", flags.row_bias,
                    "Trained rows have a bias, held at or below 0");
  command->add_option("--z-loss", flags.z_loss,
                      "Weight of the router's z-loss (default 0.001)");
}

}  // namespace tributary::contributor
