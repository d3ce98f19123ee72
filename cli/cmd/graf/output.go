package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"
)

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

func (a *app) checkOutput() error {
	switch a.output {
	case "", outputTable, outputJSON, outputYAML:
		return nil
	default:
		return usage("--output %q is none of table, json and yaml", a.output)
	}
}

// show prints value as --output says, for people by table.
func (a *app) show(value any, table func() error) error {
	switch a.output {
	case outputJSON:
		text, err := encodeJSON(value, "  ")
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	case outputYAML:
		text, err := encodeYAML(value)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	default:
		return table()
	}
}

// showEach prints one of several values for programs: JSON on a line of its own, or a
// YAML document.
func (a *app) showEach(value any) error {
	var text []byte
	var err error
	if a.output == outputYAML {
		text, err = encodeYAML(value)
		text = append([]byte("---\n"), text...)
	} else {
		text, err = encodeJSON(value, "")
	}
	if err != nil {
		return err
	}
	_, err = a.out.Write(text)
	return err
}

// forPrograms says whether people are not who reads the output.
func (a *app) forPrograms() bool { return a.output == outputJSON || a.output == outputYAML }

// encodeJSON is value as JSON, with a newline. What terminals take for commands is
// escaped: of that encoding/json leaves DEL and the C1 controls as they are, which are
// found in texts alone.
func encodeJSON(value any, indent string) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", indent)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	var harmless bytes.Buffer
	for _, r := range text.String() {
		if r >= 0x7f && r <= 0x9f {
			fmt.Fprintf(&harmless, `\u%04x`, r)
		} else {
			harmless.WriteRune(r)
		}
	}
	return harmless.Bytes(), nil
}

// encodeYAML is value as YAML. What terminals take for commands is escaped, by
// encodeJSON, too: YAML is made of JSON, in which its parser suffers no such characters.
func encodeYAML(value any) ([]byte, error) {
	text, err := encodeJSON(value, "")
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(text)
}

// table prints rows in columns; the first row is the heading.
func (a *app) table(rows [][]string) error {
	writer := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(writer, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return writer.Flush()
}

func (a *app) line(format string, arguments ...any) error {
	_, err := fmt.Fprintf(a.out, format+"\n", arguments...)
	return err
}

// printable makes text of agents harmless on a terminal: one line without control
// characters, which could move the cursor or rewrite what was printed.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		default:
			return r
		}
	}, text)
}

// printableLines is printable for each line of text.
func printableLines(text string) string {
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(text, "\n"), "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// style is a sequence of ANSI SGR parameters (ECMA-48, section 8.3.117).
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func (s streams) paint(with style, text string) string {
	if !s.colour || with == "" {
		return text
	}
	return "\x1b[" + string(with) + "m" + text + "\x1b[0m"
}

// clip cuts text to so many characters.
func clip(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:max(0, most-1)]) + "…"
}

// age is how long ago a moment was, in one unit.
func age(at time.Time) string {
	switch ago := time.Since(at); {
	case ago < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(ago.Seconds())))
	case ago < time.Hour:
		return fmt.Sprintf("%dm", int(ago.Minutes()))
	case ago < 48*time.Hour:
		return fmt.Sprintf("%dh", int(ago.Hours()))
	default:
		return fmt.Sprintf("%dd", int(ago.Hours()/24))
	}
}
