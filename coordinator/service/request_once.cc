#include "coordinator/service/request_once.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "common/crypto/digest.h"

namespace tributary::coordinator {
namespace {

std::string DeterministicBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

}  // namespace

Status CheckRequestId(std::string_view id) {
  bool valid = id.size() == 36;
  for (size_t i = 0; valid && i < id.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool digit =
        (id[i] >= '0' && id[i] <= '9') || (id[i] >= 'a' && id[i] <= 'f');
    valid = dash ? id[i] == '-' : digit;
  }
  return valid ? absl::OkStatus()
               : InvalidArgument(
                     "request_id: got '{}', wanted a UUID in lower case", id);
}

StatusOr<RequestKey> KeyOf(const std::string& caller,
                           const std::string& request_id,
                           const google::protobuf::Message& request) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  return RequestKey{
      .caller = caller,
      .request_id = request_id,
      .method = request.GetTypeName(),
      .body_sha256 = crypto::Sha256Hex(DeterministicBytes(request))};
}

StatusOr<std::string> RunOnce(
    const Core& core, const RequestKey& key,
    const std::function<StatusOr<std::string>(Transaction&)>& mutate) {
  std::string result;
  RETURN_IF_ERROR(
      core.database.Transact([&](Transaction& transaction) -> Status {
        RequestStore requests(transaction);
        ASSIGN_OR_RETURN(const std::optional<std::string> stored,
                         requests.Find(key));
        if (stored) {
          result = *stored;
          return absl::OkStatus();
        }
        ASSIGN_OR_RETURN(result, mutate(transaction));
        requests.Add(key, result, core.now_s());
        return absl::OkStatus();
      }));
  return result;
}

}  // namespace tributary::coordinator
