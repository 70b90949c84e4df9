"""Model servers: started, asked, switched to another adapter; conversations with them."""
