// Package docstest reads the commands of the documentation for the tests that run them. What follows "sh" in the line
// that begins a block says by whom it is run: CONTRIBUTING.md has the words, and TestQuickstart of e2e those of its own document.
package docstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Block is a fenced block of shell commands.
type Block struct {
	// Words follow "sh": how the block is to be run.
	Words []string
	// Commands are its lines, without the indentation of the block.
	Commands string
	// Line is where it begins, counted from 1.
	Line int
}

// Has says whether the block has a word.
func (b Block) Has(word string) bool { return slices.Contains(b.Words, word) }

// Blocks are those of a Markdown file that begin with ```sh, in their order. It fails the test if one does not end.
func Blocks(t testing.TB, path string) []Block {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks, unended := parse(string(text))
	if unended > 0 {
		t.Fatalf("%s:%d: the block does not end", path, unended)
	}
	return blocks
}

// parse also gives the line of a fence, of whatever language, that is never closed; 0 if there is none.
func parse(text string) (blocks []Block, unended int) {
	const fence = "```"
	var indent, language string
	var block Block
	for i, line := range strings.SplitAfter(text, "\n") {
		content := strings.TrimLeft(line, " ")
		opened := block.Line > 0
		switch {
		case !opened && strings.HasPrefix(content, fence):
			indent = line[:len(line)-len(content)]
			words := strings.Fields(strings.TrimPrefix(content, fence))
			block, language = Block{Line: i + 1}, ""
			if len(words) > 0 {
				language, block.Words = words[0], words[1:]
			}
		case opened && strings.TrimSpace(line) == fence:
			if language == "sh" {
				blocks = append(blocks, block)
			}
			block = Block{}
		case opened:
			block.Commands += strings.TrimPrefix(line, indent)
		}
	}
	return blocks, block.Line
}

// Files are the Markdown files of the repository whose root is given, by their paths from there. What was downloaded
// or made, in folders that begin with a dot or named node_modules, is none of it.
func Files(t testing.TB, root string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules"):
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		relative, err := filepath.Rel(root, path)
		files = append(files, relative)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
