"""tasks/cutting"""
