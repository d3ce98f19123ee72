package api

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// FuzzParse holds the reader of bodies to encoding/json: it takes nothing that
// encoding/json refuses, reads the same values, and knows their size.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e3,"é\n\u0001\ud83d\ude00\\u0041",true,false,null,{}],"b":{"c":[]}}`,
		`{"a":1,"a":2}`, `"\ud800"`, `"\u0000"`, `[1,]`, `{"a"}`, "\xff", ` `, `1e999`, `[[[[`, `1 2`, `"\\ud800"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parse(data, 1)
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if err != nil {
			return
		}
		if wantErr != nil || d.More() {
			t.Fatalf("parse took %q, encoding/json says %v", data, wantErr)
		}
		gotText, wantText := compact(t, got), compact(t, want)
		if gotText != wantText {
			t.Fatalf("parse read %s, encoding/json %s", gotText, wantText)
		}
		// encoding/json writes these three longer than it must.
		if !strings.ContainsAny(gotText, "\u2028\u2029\x7f") && jsonSize(got) != len(gotText) && !strings.Contains(gotText, `\u2028`) && !strings.Contains(gotText, `\u2029`) {
			t.Fatalf("jsonSize = %d, want %d: %s", jsonSize(got), len(gotText), gotText)
		}
	})
}

func compact(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
