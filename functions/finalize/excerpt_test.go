package finalize

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
)

func TestExcerpt(t *testing.T) {
	t.Parallel()
	lines := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "line %06d ä\n", i)
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		text  string
		most  int
		begin string
		end   string
		whole bool
	}{
		"nothing":                {text: "", most: 4096, whole: true},
		"short":                  {text: lines(0, 10), most: 4096, whole: true},
		"as long as may be":      {text: strings.Repeat("a", 4096), most: 4096, whole: true},
		"within the tail":        {text: strings.Repeat("a", 3100), most: 4096, whole: true},
		"a byte too long":        {text: strings.Repeat("a", 3072) + "b\n" + strings.Repeat("c", 1023), most: 4096, begin: "aaa", end: "ccc"},
		"too long":               {text: lines(0, 10_000), most: 4096, begin: "line 000000", end: lines(9_960, 10_000)},
		"no lines":               {text: strings.Repeat("ä", 10_000), most: 4097, begin: "ä", end: strings.Repeat("ä", 512)},
		"much, of much too much": {text: lines(0, 500_000), most: 1 << 20, begin: lines(0, 1000), end: lines(499_000, 500_000)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for reader, from := range map[string]io.Reader{
				"as it comes": strings.NewReader(c.text), "in halves": iotest.HalfReader(strings.NewReader(c.text)),
				"data with the end": iotest.DataErrReader(strings.NewReader(c.text)),
			} {
				raw, err := io.ReadAll(newExcerpt(from, c.most))
				got := string(raw)
				if err != nil {
					t.Fatal(err)
				}
				if c.whole {
					if got != c.text {
						t.Errorf("%s: %d bytes of %d are left: %.80q", reader, len(got), len(c.text), got)
					}
					continue
				}
				mark := regexp.MustCompile(`\n\[graf: (\d+) bytes of the log were left out here\]\n`)
				found := mark.FindStringSubmatch(got)
				if found == nil || !strings.HasPrefix(got, c.begin) || !strings.HasSuffix(got, c.end) {
					t.Fatalf("%s: got %.60q … %q", reader, got, got[max(0, len(got)-60):])
				}
				kept := len(got) - len(found[0])
				if kept > c.most || fmt.Sprint(len(c.text)-kept) != found[1] {
					t.Errorf("%s: %d of %d bytes are kept, %s were left out", reader, kept, len(c.text), found[1])
				}
			}
		})
	}
}

func TestExcerptOfWhatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 10, 3072, 4000, 10_000} {
		from := io.MultiReader(strings.NewReader(strings.Repeat("a", size)), iotest.ErrReader(errors.New("password=hunter2 broken")))
		got, err := io.ReadAll(newExcerpt(from, 4096))
		if err != nil || !strings.HasSuffix(string(got), "\n[graf: the log could not be read any further: password=[redacted] broken]\n") {
			t.Errorf("after %d bytes: %.100q, %v", size, got[max(0, len(got)-100):], err)
		}
	}
}
