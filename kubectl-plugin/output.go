package kubectlplugin

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// addDocumentFlag adds -o for verbs whose data is one document.
func addDocumentFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "Output format: json or yaml.")
	complete(cmd, "output", fixed("json", "yaml"))
}

func checkDocumentFormat(cmd *cobra.Command, output string) error {
	switch output {
	case "", "json", "yaml":
		return nil
	}
	return usagef(cmd, "unknown output format %q: use json or yaml", output)
}

// printDocument writes one value as JSON or YAML.
func (s *session) printDocument(format string, document any) error {
	raw, err := yaml.Marshal(document)
	if format == "json" {
		raw, err = json.MarshalIndent(document, "", "    ")
		raw = append(raw, '\n')
	}
	if err != nil {
		return fmt.Errorf("write the answer as %s: %w", format, err)
	}
	_, err = s.Out.Write(raw)
	return err
}

// table prints aligned columns in kubectl's manner.
type table struct{ w *tabwriter.Writer }

func (s *session) newTable(headings ...string) table {
	t := table{tabwriter.NewWriter(s.Out, 6, 4, 3, ' ', 0)}
	if len(headings) > 0 {
		t.row(headings...)
	}
	return t
}

// row adds a line; tabs and line breaks within a cell would break the table.
func (t table) row(cells ...string) {
	clean := strings.NewReplacer("\t", " ", "\n", " ", "\r", " ", "\f", " ", "\v", " ", "\x1b", "")
	for i := range cells {
		cells[i] = clean.Replace(cells[i])
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t table) flush() error { return t.w.Flush() }

// orNone stands for what is not there, as in kubectl's tables.
func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}
