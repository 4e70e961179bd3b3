"""What a trainer in Python needs of the controller: Node, and a critic by itself."""
