#include "coordinator/commands/anchor_commands.h"

#include <memory>
#include <vector>

#include "common/base/random.h"
#include "common/base/text.h"
#include "common/cli/progress.h"
#include "common/cli/worker_call.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"

namespace tributary::coordinator {
namespace {

struct PublishOptions {
  std::string name;
  std::string model;
  std::vector<std::string> public_texts;
};

// "class=path" with an existing path.
Status AddPublicText(const std::string& argument, v1::PublicText* public_text) {
  const size_t equals = argument.find('=');
  if (equals == 0 || equals == std::string::npos) {
    return InvalidArgument(
        "--public-text: got '{}', wanted CLASS=PATH, for example "
        "prose=manual.jsonl",
        argument);
  }
  ASSIGN_OR_RETURN(
      const auto path,
      cli::ExistingPath(argument.substr(equals + 1), "--public-text"));
  public_text->set_text_class(argument.substr(0, equals));
  public_text->set_path(path.string());
  return absl::OkStatus();
}

Status Publish(const PublishOptions& options,
               const cli::CommandContext& context) {
  v1::PublishAnchorRequest request;
  request.set_request_id(RandomUuid());
  request.set_anchor_id(options.name);
  ASSIGN_OR_RETURN(const auto model,
                   cli::ExistingPath(options.model, "--model"));
  request.set_model_directory(model.string());
  for (const std::string& text : options.public_texts) {
    RETURN_IF_ERROR(AddPublicText(text, request.add_public_texts()));
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  grpc::ClientContext call;  // no deadline: large models take their time
  const auto reader = client->admin().PublishAnchor(&call, request);
  v1::PublishAnchorEvent event;
  v1::Anchor anchor;
  {
    cli::ProgressBar bar(context.output);
    while (reader->Read(&event)) {
      if (event.has_anchor()) {
        anchor = event.anchor();
      } else {
        bar.Update("anchor", event.fraction(), event.message());
      }
      if (context.cancellation.IsCancelled()) {
        call.TryCancel();
      }
    }
  }
  RETURN_IF_ERROR(client->Convert(reader->Finish()));
  context.output.Print(
      fmt::format("published {}, digest {}", anchor.name(), anchor.digest()),
      MessageJson(anchor));
  return absl::OkStatus();
}

Status ListAnchors(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto anchors,
      ListAll<v1::Anchor>(
          *client, client->anchors(), &v1::AnchorService::Stub::ListAnchors,
          [](const v1::ListAnchorsResponse& page) -> const auto& {
            return page.anchors();
          }));
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "PUBLISHED", "DIGEST"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Anchor& anchor : anchors) {
    rows.push_back({anchor.name(),
                    FormatTime(static_cast<double>(anchor.create_time_s())),
                    anchor.digest()});
    values.push_back(MessageJson(anchor));
  }
  context.output.Print(cli::FormatTable(rows), {{"anchors", values}});
  return absl::OkStatus();
}

}  // namespace

void AddAnchorCommands(cli::CommandLine& command_line) {
  CLI::App& group =
      *command_line.AddGroup("anchor",
                             "The public model that experts start "
                             "from");
  auto options = std::make_shared<PublishOptions>();
  CLI::App* publish = command_line.AddCommand(
      group, "publish",
      "Import a Hugging Face directory with public calibration text",
      [options](const cli::CommandContext& context) {
        return Publish(*options, context);
      });
  publish->add_option("--name", options->name, "Name of the anchor")
      ->required();
  publish
      ->add_option("--model", options->model,
                   "Hugging Face directory of a Llama-family model")
      ->required();
  publish
      ->add_option("--public-text", options->public_texts,
                   "CLASS=PATH (repeatable): prose is what the anchor should "
                   "keep, heldout is for evaluation, all others are background")
      ->required();
  command_line.AddCommand(group, "list", "All anchors, newest first",
                          ListAnchors);
}

}  // namespace tributary::coordinator
