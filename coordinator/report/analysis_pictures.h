#pragma once

#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"
#include "coordinator/report/page.h"
#include "coordinator/report/picture.h"

namespace tributary::coordinator {

// A picture of a routing analysis (coordinator/evaluation) as a file.
struct NamedPicture {
  std::string name;  // without .svg
  std::string svg;
  std::string caption;
};

// All pictures of an analysis, each readable on its own. INVALID_ARGUMENT when
// the object is not an analysis.
StatusOr<std::vector<NamedPicture>> AnalysisPictures(const Json& analysis,
                                                     PictureUse use);

// Sections of a page: pictures and tables.
StatusOr<std::vector<PageSection>> AnalysisSections(const Json& analysis);

// A page of its own about the analysis of a model called `name`.
StatusOr<std::string> AnalysisPage(const Json& analysis,
                                   const std::string& name);

}  // namespace tributary::coordinator
