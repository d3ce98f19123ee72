package lines

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200_000)
	for name, c := range map[string]struct {
		input string
		most  int
		want  []string
		left  int
	}{
		"nothing":            {"", 10, nil, 0},
		"lines":              {"a\nb\n", 10, []string{"a", "b"}, 0},
		"an empty line":      {"a\n\nb\n", 10, []string{"a", "", "b"}, 0},
		"no end":             {"a\nb", 10, []string{"a", "b"}, 0},
		"ends of Windows":    {"a\r\nb\r\n", 10, []string{"a", "b"}, 0},
		"not UTF-8":          {"a\xff\xfeb\n", 10, []string{"a\uFFFDb"}, 0},
		"a long line":        {long + "\nb\n", 1000, []string{long[:1000], "b"}, 199_000},
		"a long line, whole": {long + "\nb\n", 1 << 20, []string{long, "b"}, 0},
		"zeros":              {"\x00\x00\n", 10, []string{"\uFFFD\uFFFD"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			left := 0
			err := Read(iotest.OneByteReader(strings.NewReader(c.input)), c.most, func(line string, leftOut int) {
				got = append(got, line)
				left += leftOut
			})
			if err != nil || !slices.Equal(got, c.want) || left != c.left {
				t.Errorf("%d lines, %d left out, %v", len(got), left, err)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("a\r\nb\xff\n"), 3)
	f.Fuzz(func(t *testing.T, input []byte, most int) {
		most = 1 + abs(most)%100
		count := 0
		err := Read(bytes.NewReader(input), most, func(line string, _ int) {
			count++
			if !utf8.ValidString(line) || strings.ContainsAny(line, "\n\x00") || len(line) > 3*most {
				t.Errorf("%q", line)
			}
		})
		want := bytes.Count(input, []byte{'\n'})
		if len(input) > 0 && input[len(input)-1] != '\n' {
			want++
		}
		if err != nil || count != want {
			t.Errorf("%d lines, want %d: %v", count, want, err)
		}
	})
}

func abs(n int) int { return max(n, -(n + 1)) }
