#pragma once

// One self-contained HTML page: no scripts, no network, light and dark, fit for
// a phone and for paper.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tributary::coordinator {

struct PageSection {
  std::string id;       // of its heading, for links; [a-z-]+
  std::string heading;  // plain text
  std::string body;     // markup
};

struct Page {
  std::string title;
  std::string lead;  // markup under the title
  std::vector<PageSection> sections;
};

std::string ToHtml(const Page& page);

// Pieces of markup; all text is escaped.
std::string Paragraph(std::string_view text);
// A number with what it means.
struct Tile {
  std::string value;
  std::string label;
};
std::string Tiles(const std::vector<Tile>& tiles);
// A table that scrolls sideways where it has no room. The cells are markup.
// Columns from `first_number` on are aligned right.
std::string Table(std::string_view caption,
                  const std::vector<std::string>& head,
                  const std::vector<std::vector<std::string>>& rows,
                  size_t first_number);
// A picture (SVG markup) with a caption.
std::string Figure(std::string_view svg, std::string_view caption);
std::string BulletList(const std::vector<std::string>& items);
// "12.3 M" for a number of parameters.
std::string Millions(int64_t parameters);

}  // namespace tributary::coordinator
