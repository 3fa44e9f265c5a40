package main

import (
	"fmt"
	"html"
	"strings"
)

// chart is a plot of horizontal bars: the median, with a line from the least to
// the greatest round, and an upright line at the target where there is one.
type chart struct {
	file   string
	title  string
	unit   string
	bars   []bar
	target float64
}

type bar struct {
	label            string
	median, min, max float64
	faint            bool // something to compare with
}

const (
	width      = 720.0
	labelWidth = 250.0
	valueWidth = 90.0
	barHeight  = 16.0
	rowHeight  = 26.0
	top        = 44.0
)

// style follows the reader's light or dark theme.
const style = `<style>
text { font: 12px sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: bold }
.bar { fill: #2f6f9f } .faint { fill: #9aa7b4 } .range { stroke: #1f2328; stroke-width: 1.5 } .target { stroke: #c0392b; stroke-width: 1.5; stroke-dasharray: 4 3 }
.goal { fill: #c0392b }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .range { stroke: #e6edf3 } .bar { fill: #58a6d6 } .faint { fill: #6e7a86 } }
</style>
`

func (c chart) svg() string {
	most := c.target
	for _, b := range c.bars {
		most = max(most, b.max)
	}
	if most == 0 {
		most = 1
	}
	scale := (width - labelWidth - valueWidth) / most
	height := top + rowHeight*float64(len(c.bars)) + 8
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="%s">`+"\n",
		width, height, width, height, html.EscapeString(c.title))
	s.WriteString(style)
	fmt.Fprintf(&s, `<text class="title" x="8" y="20">%s</text>`+"\n", html.EscapeString(c.title))
	for i, b := range c.bars {
		s.WriteString(c.row(b, top+rowHeight*float64(i), scale))
	}
	if c.target > 0 {
		x := labelWidth + c.target*scale
		fmt.Fprintf(&s, `<line class="target" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", x, top-8, x, height-8)
		fmt.Fprintf(&s, `<text class="goal" x="%.1f" y="%.1f" text-anchor="end">target %s</text>`+"\n", x+30, top-12, number(c.target, c.unit))
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func (c chart) row(b bar, y, scale float64) string {
	class := "bar"
	if b.faint {
		class = "faint"
	}
	middle := y + barHeight/2
	var s strings.Builder
	fmt.Fprintf(&s, `<text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n", labelWidth-8, middle+4, html.EscapeString(b.label))
	fmt.Fprintf(&s, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.0f" rx="2"/>`+"\n", class, labelWidth, y, max(b.median*scale, 0.5), barHeight)
	if b.max > b.min {
		fmt.Fprintf(&s, `<line class="range" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", labelWidth+b.min*scale, middle, labelWidth+b.max*scale, middle)
	}
	fmt.Fprintf(&s, `<text x="%.1f" y="%.1f">%s</text>`+"\n", labelWidth+b.max*scale+8, middle+4, number(b.median, c.unit))
	return s.String()
}

// number writes at most four digits.
func number(v float64, unit string) string {
	text := fmt.Sprintf("%.4g", v)
	if v >= 1000 {
		text = fmt.Sprintf("%.0f", v)
	}
	if unit == "" {
		return text
	}
	return text + " " + unit
}
