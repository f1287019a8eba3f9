// The operator's calls about what single contributors may do.

#include <nlohmann/json.hpp>

#include "common/manifest/resource_name.h"
#include "coordinator/service/admin_service.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;
using manifest::ResourceName;

StatusOr<v1::Contributor> ReadContributor(Transaction& transaction,
                                          const std::string& id) {
  const auto row = ContributorStore(transaction).Find(id);
  if (!row) {
    return NotFound("contributors/{}: no such contributor", id);
  }
  v1::Contributor contributor = ToProto(*row);
  contributor.set_live_contributions(
      ContributionStore(transaction).CountLive(id));
  contributor.set_reserved_bytes(
      UploadStore(transaction).ReservedBytes(id, ""));
  return contributor;
}

// The value of a limit that is to be set; nothing when it is to be cleared.
StatusOr<std::optional<int64_t>> Limit(const char* field, bool has,
                                       int64_t value) {
  if (has && value < 1) {
    return InvalidArgument("policy.{}: got {}, wanted at least 1", field,
                           value);
  }
  return has ? std::optional<int64_t>(value) : std::nullopt;
}

// Applies the fields that the mask names.
Status Apply(const v1::UpdateContributorPolicyRequest& request,
             ContributorPolicy& policy) {
  const v1::ContributorPolicy& wanted = request.policy();
  for (const std::string& path : request.update_mask().paths()) {
    if (path == "max_width") {
      ASSIGN_OR_RETURN(
          policy.max_width,
          Limit("max_width", wanted.has_max_width(), wanted.max_width()));
    } else if (path == "max_bytes") {
      ASSIGN_OR_RETURN(
          policy.max_bytes,
          Limit("max_bytes", wanted.has_max_bytes(), wanted.max_bytes()));
    } else if (path == "max_contributions") {
      ASSIGN_OR_RETURN(
          policy.max_contributions,
          Limit("max_contributions", wanted.has_max_contributions(),
                wanted.max_contributions()));
    } else if (path == "require_operator") {
      policy.require_operator =
          wanted.has_require_operator()
              ? std::optional<bool>(wanted.require_operator())
              : std::nullopt;
    } else {
      return InvalidArgument(
          "update_mask: got '{}', wanted max_width, max_bytes, "
          "max_contributions or require_operator",
          path);
    }
  }
  return absl::OkStatus();
}

Json ToJson(const ContributorPolicy& policy) {
  Json json = Json::object();
  const auto add = [&json](const char* name, const auto& value) {
    if (value) {
      json[name] = *value;
    }
  };
  add("max_width", policy.max_width);
  add("max_bytes", policy.max_bytes);
  add("max_contributions", policy.max_contributions);
  add("require_operator", policy.require_operator);
  return json;
}

}  // namespace

grpc::Status AdminServiceImpl::GetContributor(
    grpc::ServerContext* call, const v1::GetContributorRequest* request,
    v1::Contributor* response) {
  return Serve(
      context_, *call, "AdminService.GetContributor", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireOperator(core, *call).status());
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kContributors, request->name()));
        return core.database.Transact([&](Transaction& transaction) -> Status {
          ASSIGN_OR_RETURN(*response, ReadContributor(transaction, id));
          return absl::OkStatus();
        });
      });
}

Status AdminServiceImpl::UpdateContributorPolicy(
    grpc::ServerContext& call,
    const v1::UpdateContributorPolicyRequest& request,
    v1::Contributor& response) {
  const Core& core = context_.core;
  ASSIGN_OR_RETURN(const Caller caller, RequireOperator(core, call));
  ASSIGN_OR_RETURN(
      const std::string id,
      ParseResourceName(Collection::kContributors, request.name()));
  if (request.update_mask().paths().empty()) {
    return InvalidArgument("update_mask: wanted the fields to change");
  }
  ASSIGN_OR_RETURN(const RequestKey key,
                   KeyOf(caller.uri, request.request_id(), request));
  RETURN_IF_ERROR(
      RunOnce(core, key,
              [&](Transaction& transaction) -> StatusOr<std::string> {
                ContributorStore store(transaction);
                auto row = store.Find(id);
                if (!row) {
                  return NotFound("contributors/{}: no such contributor", id);
                }
                RETURN_IF_ERROR(Apply(request, row->policy));
                store.SetPolicy(id, row->policy);
                RETURN_IF_ERROR(core.Audit(
                    transaction,
                    {.actor = caller.uri,
                     .action = "contributor.set_policy",
                     .subject = ResourceName(Collection::kContributors, id)},
                    ToJson(row->policy)));
                return id;
              })
          .status());
  return core.database.Transact([&](Transaction& transaction) -> Status {
    ASSIGN_OR_RETURN(response, ReadContributor(transaction, id));
    return absl::OkStatus();
  });
}

grpc::Status AdminServiceImpl::UpdateContributorPolicy(
    grpc::ServerContext* call,
    const v1::UpdateContributorPolicyRequest* request,
    v1::Contributor* response) {
  return Serve(
      context_, *call, "AdminService.UpdateContributorPolicy", *request,
      [&] { return UpdateContributorPolicy(*call, *request, *response); });
}

}  // namespace tributary::coordinator
