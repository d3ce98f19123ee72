package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// formatLine makes a line of a program's JSON log readable: time, level, program,
// message, then the rest as key=value in order. Other lines are shown as they are.
func formatLine(program string, line []byte) []byte {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return fmt.Appendf(nil, "%s %-5s %-9s %s\n", time.Now().Format("15:04:05.000"), "-", program, bytes.TrimSpace(line))
	}
	at := take(fields, "time")
	if parsed, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = parsed.Local().Format("15:04:05.000")
	}
	level := strings.ToUpper(take(fields, "level"))
	message := take(fields, "msg")
	if message == "" {
		message = take(fields, "message") // func-go's own lines
	}
	out := fmt.Appendf(nil, "%s %-5s %-9s %s", at, level, program, message)
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		out = fmt.Appendf(out, " %s=%v", key, compact(fields[key]))
	}
	return append(out, '\n')
}

func take(fields map[string]any, key string) string {
	value, ok := fields[key]
	delete(fields, key)
	if !ok || value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

func compact(value any) string {
	if text, ok := value.(string); ok && !strings.ContainsAny(text, " \n\"") {
		return text
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}
