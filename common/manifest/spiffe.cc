#include "common/manifest/spiffe.h"

#include <array>
#include <optional>

#include "common/manifest/resource_name.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr std::array kRoles = {Role::kContributor, Role::kCoordinator,
                               Role::kOperator, Role::kSigner};

bool HasId(Role role) {
  return role == Role::kContributor || role == Role::kOperator;
}

// The part before the first "/", which is taken off `text`; nothing at its end.
std::optional<std::string_view> TakePart(
    std::optional<std::string_view>& text) {
  if (!text) {
    return std::nullopt;
  }
  const size_t slash = text->find('/');
  const std::string_view part = text->substr(0, slash);
  if (slash == std::string_view::npos) {
    text = std::nullopt;
  } else {
    text = text->substr(slash + 1);
  }
  return part;
}

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kContributor:
      return "contributor";
    case Role::kCoordinator:
      return "coordinator";
    case Role::kOperator:
      return "operator";
    case Role::kSigner:
      return "signer";
  }
  return "";
}

std::string Identity::ToUri() const {
  return HasId(role)
             ? fmt::format("{}{}/{}/{}", kScheme, federation, RoleName(role),
                           id)
             : fmt::format("{}{}/{}", kScheme, federation, RoleName(role));
}

StatusOr<Identity> ParseIdentity(std::string_view uri) {
  const auto refuse = [&] {
    return InvalidArgument(
        "identity: got \"{}\", wanted spiffe://{{federation}}/coordinator, "
        ".../signer, .../contributor/{{id}} or .../operator/{{id}}",
        uri.substr(0, 200));
  };
  if (!uri.starts_with(kScheme)) {
    return refuse();
  }
  std::optional<std::string_view> rest = uri.substr(kScheme.size());
  const auto federation = TakePart(rest);
  const auto role_name = TakePart(rest);
  const auto id = TakePart(rest);
  if (!federation || !IsValidId(*federation) || !role_name || rest) {
    return refuse();
  }
  for (const Role role : kRoles) {
    if (RoleName(role) == *role_name && HasId(role) == id.has_value() &&
        (!id || IsValidId(*id))) {
      return Identity{.federation = std::string(*federation),
                      .role = role,
                      .id = std::string(id.value_or(""))};
    }
  }
  return refuse();
}

StatusOr<Identity> IdentityOf(const crypto::Certificate& certificate) {
  if (certificate.uris().size() != 1) {
    return InvalidArgument(
        "certificate \"{}\": got {} URIs, wanted one, the identity",
        certificate.common_name(), certificate.uris().size());
  }
  return ParseIdentity(certificate.uris().front());
}

StatusOr<Identity> VerifyIdentity(const crypto::Certificate& certificate,
                                  const crypto::Certificate& ca,
                                  std::string_view federation, int64_t time_s) {
  RETURN_IF_ERROR(certificate.VerifyChain(ca, time_s));
  StatusOr<Identity> identity = IdentityOf(certificate);
  if (!identity.ok()) {
    return absl::UnauthenticatedError(identity.status().message());
  }
  if (identity->federation != federation) {
    return Unauthenticated(
        "certificate \"{}\": of federation \"{}\", wanted \"{}\"",
        certificate.common_name(), identity->federation, federation);
  }
  return identity;
}

}  // namespace tributary::manifest
