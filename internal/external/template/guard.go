package template

import (
	"fmt"
	"slices"
	"strings"
	"text/template/parse"
)

const (
	maxText    = 1 << 20
	maxActions = 10_000
	// parseName is what text/template calls each template in its errors.
	parseName = "t"
)

// Names of functions that a template's text cannot call, because the list of
// those that it can has no such names.
const (
	guardStep  = "_step"
	guardEnter = "_enter"
	guardLeave = "_leave"
	guardPrint = "_print"
)

// parsed is a template with guards in it: a check at the beginning of each body
// of a range, at the beginning and the end of each template, and before
// anything is printed.
type parsed struct {
	template Template
	options  Options
	trees    map[string]*parse.Tree
	used     map[string]bool // functions
	places   map[[2]int]place
	lines    []int       // where each line of the text begins
	tree     *parse.Tree // that is being guarded
}

func parseGuarded(t Template, o Options) (*parsed, error) {
	if len(t.Text) > maxText {
		return nil, &Error{Template: t.Name, Problem: fmt.Sprintf("its text has more than %d bytes", maxText)}
	}
	// The parser calls itself for each block in a block.
	if strings.Count(t.Text, "{{") > maxActions {
		return nil, &Error{Template: t.Name, Problem: fmt.Sprintf("it has more than %d actions", maxActions)}
	}
	trees := map[string]*parse.Tree{}
	main := parse.New(t.Name)
	main.Mode = parse.SkipFuncCheck
	if _, err := main.Parse(t.Text, "", "", trees); err != nil {
		return nil, unparsable(t, err)
	}
	p := &parsed{template: t, options: o, trees: trees, used: map[string]bool{}, places: map[[2]int]place{}, lines: linesOf(t.Text)}
	for _, tree := range trees {
		p.tree, tree.ParseName = tree, parseName
		if err := p.list(tree.Root); err != nil {
			return nil, err
		}
		nodes := append([]parse.Node{p.guard(guardEnter, tree.Root.Pos)}, tree.Root.Nodes...)
		tree.Root.Nodes = append(nodes, p.guard(guardLeave, tree.Root.Pos))
	}
	return p, nil
}

// guard returns an action that calls one of our functions.
func (p *parsed) guard(name string, pos parse.Pos) *parse.ActionNode {
	p.used[name] = true
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Cmds: []*parse.CommandNode{p.call(name, pos)}}
	return &parse.ActionNode{NodeType: parse.NodeAction, Pos: pos, Pipe: pipe}
}

func (p *parsed) call(name string, pos parse.Pos) *parse.CommandNode {
	p.used[name] = true
	function := parse.NewIdentifier(name).SetPos(pos).SetTree(p.tree)
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{function}}
}

func (p *parsed) list(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		if err := p.node(node); err != nil {
			return err
		}
	}
	return nil
}

func (p *parsed) node(node parse.Node) error {
	switch n := node.(type) {
	case *parse.ActionNode:
		err := p.pipe(n.Pipe)
		if len(n.Pipe.Decl) == 0 {
			n.Pipe.Cmds = append(n.Pipe.Cmds, p.call(guardPrint, n.Pos))
		}
		return err
	case *parse.IfNode:
		return p.branch(&n.BranchNode)
	case *parse.WithNode:
		return p.branch(&n.BranchNode)
	case *parse.RangeNode:
		err := p.branch(&n.BranchNode)
		n.List.Nodes = append([]parse.Node{p.guard(guardStep, n.Pos)}, n.List.Nodes...)
		return err
	case *parse.TemplateNode:
		return p.pipe(n.Pipe)
	}
	return nil
}

func (p *parsed) branch(b *parse.BranchNode) error {
	if err := p.pipe(b.Pipe); err != nil {
		return err
	}
	if err := p.list(b.List); err != nil {
		return err
	}
	return p.list(b.ElseList)
}

func (p *parsed) pipe(pipe *parse.PipeNode) error {
	if pipe == nil {
		return nil
	}
	for _, command := range pipe.Cmds {
		var function string
		if first, ok := command.Args[0].(*parse.IdentifierNode); ok {
			function = first.Ident
		}
		for _, arg := range command.Args {
			if err := p.argument(function, arg); err != nil {
				return err
			}
		}
	}
	return nil
}

// argument looks at a word of a command, whose function is "" where the command
// calls none.
func (p *parsed) argument(function string, node parse.Node) error {
	at := place{function: function}
	switch n := node.(type) {
	case *parse.IdentifierNode:
		if err := p.allow(n); err != nil {
			return err
		}
		at.function = n.Ident
	case *parse.FieldNode:
		at.field = strings.Join(n.Ident, ".")
	case *parse.VariableNode:
		at.field = strings.Join(n.Ident[1:], ".")
	case *parse.ChainNode:
		at.field = strings.Join(n.Field, ".")
		if err := p.argument(function, n.Node); err != nil {
			return err
		}
	case *parse.PipeNode:
		if err := p.pipe(n); err != nil {
			return err
		}
	}
	p.places[p.position(node)] = at
	return nil
}

// position is line and column as text/template counts them in its errors.
func (p *parsed) position(node parse.Node) [2]int {
	at := int(node.Position())
	line, begins := slices.BinarySearch(p.lines, at)
	if begins {
		line++
	}
	return [2]int{line, at - p.lines[line-1]}
}

func linesOf(text string) []int {
	lines := []int{0}
	for i := range len(text) {
		if text[i] == '\n' {
			lines = append(lines, i+1)
		}
	}
	return lines
}

func (p *parsed) allow(n *parse.IdentifierNode) error {
	at := p.position(n)
	e := &Error{Template: p.template.Name, Line: at[0], Column: at[1] + 1}
	switch known := allowed(n.Ident); {
	case !known && p.template.Private:
		e.Problem = "there is no such function"
	case !known:
		e.Problem = fmt.Sprintf("there is no function %q", n.Ident)
	case makesKeys(n.Ident) && !p.options.CreatedOnce:
		e.Function, e.Problem = n.Ident, "it makes something else each time, so that it needs refreshPolicy: CreatedOnce"
	default:
		p.used[n.Ident] = true
		return nil
	}
	return e
}
